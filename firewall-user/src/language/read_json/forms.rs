//! What each JSON object of libnftables-json(5) reads like as text: a line an object.
//!
//! A form is text in which `$name` stands for a member. `[..]` is left out when a member in it is not there (a flag: when
//! it is `false`). Blanks are kept, so `$a:$b` has none. What follows a name and `:` says how the member is written:
//!
//! | | |
//! |---|---|
//! | `$x` | a value: a number, a name, an expression |
//! | `$x:q` | a text in quotes |
//! | `$x:w` | a word or words of the language |
//! | `$x:,` `$x:.` | a list of words with these between them |
//! | `$x:host` | an address; in brackets when it is one of IPv6 |
//! | `$x:s` | seconds |
//! | `$x:do` | statements, or one |
//! | `$x:n` | the name of a table, chain, set or object |
//! | `$x?over` | the word, when the member is `true` |
//! | `$x=packets` | nothing, but the member must be this word if it is there |
//! | `$` | the value itself, when it is no object |
//!
//! An object may have several forms: the first one that has all its members, and no other ones, is taken.

/// When a form is for an object's value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `null`.
    Null,
    /// A text, a number, or an expression.
    Value,
    /// Members by name.
    Object,
}

use Shape::{Null, Object, Value};

/// A form: the object's name, what its value is, the text.
pub(super) type Form = (&'static str, Shape, &'static str);

/// Expressions. `concat`, `set`, `|` and the like have code of their own.
pub(super) const EXPRESSIONS: &[Form] = &[
    ("payload", Object, "$protocol:w $field:w"),
    ("payload", Object, "@$base:w,$offset,$len"),
    ("meta", Object, "meta $key:w"),
    ("ct", Object, "ct [$dir:w ][$family:w ]$key:w"),
    ("rt", Object, "rt [$family:w ]$key:w"),
    ("exthdr", Object, "exthdr $name:w"),
    ("exthdr", Object, "$name:w $field:w"),
    ("tcp option", Object, "tcp option $name:w[ $field:w]"),
    ("tcp option", Object, "tcp option @$base,$offset,$len"),
    ("ip option", Object, "ip option $name:w[ $field:w]"),
    ("sctp chunk", Object, "sctp chunk $name:w[ $field:w]"),
    ("dccp option", Object, "dccp option $type"),
    ("fib", Object, "fib $flags:. $result:w"),
    ("numgen", Object, "numgen $mode:w mod $mod[ offset $offset]"),
    ("jhash", Object, "jhash $expr mod $mod[ seed $seed][ offset $offset]"),
    ("symhash", Object, "symhash mod $mod[ offset $offset]"),
    ("socket", Object, "socket $key:w"),
    ("osf", Object, "osf[ ttl $ttl:w] $key:w"),
    ("ipsec", Object, "ipsec $dir:w[ spnum $spnum] $family:w $key:w"),
    ("ipsec", Object, "ipsec $dir:w[ spnum $spnum] $key:w"),
    ("prefix", Object, "$addr/$len"),
    ("map", Object, "$key map $data"),
    (
        "elem",
        Object,
        "$val[ $counter:state][ $limit:state][ $quota:state][ $last:state][ timeout $timeout:s][ expires $expires:s][ comment $comment:q]",
    ),
    ("jump", Object, "jump $target:n"),
    ("goto", Object, "goto $target:n"),
    ("accept", Null, "accept"),
    ("drop", Null, "drop"),
    ("return", Null, "return"),
    ("continue", Null, "continue"),
];

/// Statements. `match` has code of its own.
pub(super) const STATEMENTS: &[Form] = &[
    ("counter", Null, "counter"),
    ("counter", Object, "counter[ packets $packets][ bytes $bytes]"),
    ("counter", Value, "counter name $"),
    ("mangle", Object, "$key set $value"),
    ("vmap", Object, "$key vmap $data"),
    (
        "limit",
        Object,
        "limit rate[ $inv?over] $rate/$per:w[ burst $burst packets]$rate_unit=packets$burst_unit=packets",
    ),
    ("limit", Object, "limit rate[ $inv?over] $rate $rate_unit:w/$per:w[ burst $burst $burst_unit:w]"),
    ("limit", Value, "limit name $"),
    ("quota", Object, "quota[ $inv?over] $val $val_unit:w[ used $used $used_unit:w]"),
    ("quota", Value, "quota name $"),
    ("last", Null, "last"),
    ("last", Object, "last[ used $used:s]"),
    ("ct count", Object, "ct count[ $inv?over] $val"),
    ("ct helper", Value, "ct helper set $"),
    ("ct timeout", Value, "ct timeout set $"),
    ("ct expectation", Value, "ct expectation set $"),
    ("secmark", Value, "meta secmark set $"),
    ("log", Null, "log"),
    (
        "log",
        Object,
        "log[ prefix $prefix:q][ group $group][ snaplen $snaplen][ queue-threshold $queue-threshold][ level $level:w][ $flags:log]",
    ),
    ("reject", Null, "reject"),
    ("reject", Object, "reject[ with $type:w][ $expr]"),
    ("notrack", Null, "notrack"),
    ("snat", Null, "snat"),
    ("snat", Object, "snat[ $family:w][ $type_flags:prefix] to[ $addr:host][:$port][ $flags:nat]"),
    ("dnat", Object, "dnat[ $family:w][ $type_flags:prefix] to[ $addr:host][:$port][ $flags:nat]"),
    ("masquerade", Null, "masquerade"),
    ("masquerade", Object, "masquerade[ to :$port][ $flags:,]"),
    ("redirect", Null, "redirect"),
    ("redirect", Object, "redirect[ to :$port][ $flags:,]"),
    ("tproxy", Object, "tproxy[ $family:w] to[ $addr:host][:$port]"),
    ("dup", Object, "dup to $addr[ device $dev]"),
    ("fwd", Object, "fwd to $dev"),
    ("fwd", Object, "fwd $family:w to $addr device $dev"),
    ("queue", Null, "queue"),
    ("queue", Object, "queue[ flags $flags:,][ to $num]"),
    ("synproxy", Null, "synproxy"),
    ("synproxy", Object, "synproxy[ mss $mss][ wscale $wscale][ $flags:w]"),
    ("synproxy", Value, "synproxy name $"),
    ("set", Object, "$op:w $set { $elem[ $stmt:do] }"),
    ("map", Object, "$op:w $map { $elem : $data }"),
    ("meter", Object, "meter $name:n[ size $size] { $key $stmt:do }"),
    ("flow", Object, "flow $op:w $flowtable"),
    ("reset", Value, "reset $"),
    ("xt", Null, "xt"),
    ("xt", Object, "xt $type:w $name:q"),
    ("jump", Object, "jump $target:n"),
    ("goto", Object, "goto $target:n"),
    ("accept", Null, "accept"),
    ("drop", Null, "drop"),
    ("return", Null, "return"),
    ("continue", Null, "continue"),
];

/// What stands in the braces of an object of a table, and in front of them.
pub(super) const OBJECTS: &[Form] = &[
    ("table", Object, "[flags $flags:,; ][comment $comment:q; ]"),
    (
        "chain",
        Object,
        "[type $type:w ][hook $hook:w ][$dev:dev ][priority $prio:w; ][policy $policy:w; ][comment $comment:q; ]",
    ),
    ("set", Object, SET),
    ("map", Object, SET),
    ("counter", Object, "[packets $packets ][bytes $bytes ]; [comment $comment:q; ]"),
    ("quota", Object, "[$inv?over] $bytes bytes[ used $used bytes]; [comment $comment:q; ]"),
    (
        "limit",
        Object,
        "rate[ $inv?over] $rate/$per:w[ burst $burst packets]$rate_unit=packets$burst_unit=packets; [comment $comment:q; ]",
    ),
    (
        "limit",
        Object,
        "rate[ $inv?over] $rate $rate_unit:w/$per:w[ burst $burst $burst_unit:w]; [comment $comment:q; ]",
    ),
    ("ct helper", Object, "type $type:q protocol $protocol:w; [l3proto $l3proto:w; ][comment $comment:q; ]"),
    (
        "ct timeout",
        Object,
        "protocol $protocol:w; [l3proto $l3proto:w; ]policy = $policy:policy; [comment $comment:q; ]",
    ),
    (
        "ct expectation",
        Object,
        "[l3proto $l3proto:w; ]protocol $protocol:w; dport $dport; timeout $timeout:ms; size $size; [comment $comment:q; ]",
    ),
    ("synproxy", Object, "mss $mss; wscale $wscale; [$flags:w; ][comment $comment:q; ]"),
    ("secmark", Object, "$context:q; [comment $comment:q; ]"),
    (
        "flowtable",
        Object,
        "hook $hook:w priority $prio:w; [devices = $dev:devices; ][flags $flags:,; ][$counter?counter]",
    ),
];

const SET: &str = "$type:key[ : $map:key]; [policy $policy:w; ][size $size; ][flags $flags:,; ][timeout $timeout:s; ]\
                   [gc-interval $gc-interval:s; ][$auto-merge?auto-merge; ][$stmt:do; ][comment $comment:q; ]\
                   [elements = $elem:elements; ]";

/// Members that say which object is meant, and those that mean nothing to one who reads.
pub(super) const NAMES: &[&str] = &["family", "table", "name", "handle"];
