use super::*;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("rampart-journal-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.join("7.journal")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn unban(source: &str) -> Happening {
    let what = What::Unban { source: source.to_owned() };
    Happening { number: 0, time_ns: 1, generation: 3, by: "root".to_owned(), what }
}

fn sources(tales: &mut Tales) -> Vec<String> {
    let source = |happening: Happening| match happening.what {
        What::Unban { source } => source,
        other => panic!("{other:?}"),
    };
    std::iter::from_fn(|| tales.next()).map(source).collect()
}

#[test]
fn every_reader_reads_all_from_where_it_began() {
    let place = Place::new("all");
    let path = place.path();
    let mut early = Tales::open(path.clone());
    assert_eq!(early.next(), None, "before there is a file");
    write(&path, unban("a")).expect("written");
    let mut late = Tales::open(path.clone());
    write(&path, unban("b")).expect("written");
    assert_eq!(sources(&mut early), ["a", "b"]);
    assert_eq!(sources(&mut late), ["b"]);
    assert_eq!(fs::metadata(&path).expect("a file").mode() & 0o777, MODE);
}

#[test]
fn a_file_that_is_begun_anew_loses_nothing_to_who_reads() {
    let place = Place::new("anew");
    let path = place.path();
    let mut tales = Tales::open(path.clone());
    let long = "x".repeat(20_000);
    let mut found = 0;
    for _ in 0..30 {
        write(&path, unban(&long)).expect("written");
        found += sources(&mut tales).len();
    }
    assert_eq!((found, tales.lost()), (30, 0));
    assert!(fs::metadata(&path).expect("a file").len() < MOST + 2 * 20_000, "it is bounded");
    assert!(path.with_extension("journal.old").exists());
}

#[test]
fn who_is_too_slow_is_told_how_many_were_missed() {
    let place = Place::new("slow");
    let path = place.path();
    write(&path, unban("first")).expect("written");
    let mut tales = Tales::open(path.clone());
    let long = "x".repeat(10_000);
    for _ in 0..100 {
        write(&path, unban(&long)).expect("written");
    }
    let found = sources(&mut tales).len() as u64;
    let lost = tales.lost();
    assert!(lost > 0, "more files than are kept were written");
    assert_eq!(found + lost, 100);
}

#[test]
fn a_line_that_was_cut_short_is_no_news_and_hurts_no_other() {
    let place = Place::new("torn");
    let path = place.path();
    write(&path, unban("a")).expect("written");
    let mut tales = Tales::open(path.clone());
    let mut file = OpenOptions::new().append(true).open(&path).expect("a file");
    file.write_all(b"{\"number\":2,\"time").expect("written");
    write(&path, unban("b")).expect("written");
    assert_eq!(sources(&mut tales), ["b"]);
    assert_eq!(tales.lost(), 0);
}

#[test]
fn another_instance_begins_at_one() {
    let place = Place::new("begin");
    let path = place.path();
    for source in ["a", "b", "c"] {
        write(&path, unban(source)).expect("written");
    }
    let mut tales = Tales::open(path.clone());
    fs::remove_file(&path).expect("removed");
    assert_eq!(tales.next(), None);
    write(&path, unban("d")).expect("written");
    assert_eq!(sources(&mut tales), ["d"]);
    assert_eq!(tales.lost(), 0);
}

#[test]
fn a_kind_for_each() {
    let backend = |is_up| What::Backend { map: "m".to_owned(), backend: "b".to_owned(), is_up, error: None };
    let flood = |is_on| What::Flood { is_on, reason: "syn_flood".to_owned(), counted: 2, threshold: 1 };
    let kinds: Vec<&str> =
        [backend(true), backend(false), flood(true), flood(false)].iter().map(|what| what.kind().name()).collect();
    assert_eq!(kinds, ["backend_up", "backend_down", "flood_on", "flood_off"]);
    for outcome in Outcome::ALL {
        assert_eq!(serde_json::to_value(outcome).expect("JSON"), outcome.name());
    }
}
