//! Names as words.

use rstest::rstest;

use super::name_words;

#[rstest]
#[case::short("lo", [0x6c6f_0000, 0, 0, 0])]
#[case::four_letters("eth0", [0x6574_6830, 0, 0, 0])]
#[case::over_a_word("wlp3s0", [0x776c_7033, 0x7330_0000, 0, 0])]
#[case::as_long_as_the_kernel_allows("abcdefghijklmno", [0x6162_6364, 0x6566_6768, 0x696a_6b6c, 0x6d6e_6f00])]
#[case::longer_is_cut("abcdefghijklmnopq", [0x6162_6364, 0x6566_6768, 0x696a_6b6c, 0x6d6e_6f00])]
#[case::none("", [0; 4])]
#[case::any_bytes("ä", [0xc3a4_0000, 0, 0, 0])]
fn a_name_in_words(#[case] name: &str, #[case] words: [u32; 4]) {
    assert_eq!(name_words(name), words);
}

#[test]
fn words_sort_as_names_do() {
    let mut names = ["eth1", "eth10", "eth", "lo", "br-lan", "eth0"];
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| name_words(pair[0]) < name_words(pair[1])));
}
