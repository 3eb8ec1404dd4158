//! `rampart ban`, `unban`, `bans`.

use std::{
    env,
    fmt::Write,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::{Result, bail};
use nix::ifaddrs::getifaddrs;
use serde_json::{Value, json};

use super::{Session, Status, open};
use crate::{
    cli::{
        bans::{BanArgs, Time, Unban},
        values::Prefix,
    },
    compile::SCHEMA,
    kernel::{Ban, Banned},
    observe::words,
};

pub(super) fn ban(session: &Session<'_>, arguments: &BanArgs) -> Result<Status> {
    let BanArgs { sources, time, reason, force } = arguments;
    let instance = open()?;
    if !force {
        sources.iter().try_for_each(refuse)?;
    }
    let lock = instance.lock()?;
    let time = time.and_then(|Time(time)| time);
    let mut lines = Vec::new();
    for source in sources {
        let is_new = instance.ban(&lock, &Ban { source: *source, time, reason: reason.clone() })?;
        lines.push((*source, is_new));
    }
    let length = time
        .map_or_else(|| "until `rampart unban`".to_owned(), |time| format!("for {}", words::seconds(time.as_secs())));
    session.answer(
        || json!({ "schema": SCHEMA, "banned": lines.iter().map(|(source, is_new)| json!({ "source": source.to_string(), "new": is_new, "seconds": time.map(|time| time.as_secs()) })).collect::<Vec<_>>() }),
        || {
            let line = |(source, is_new): &(Prefix, bool)| {
                format!("{source}: banned {length}{}\n", if *is_new { "" } else { ", from now on" })
            };
            lines.iter().map(line).collect()
        },
    )?;
    Ok(Status::Done)
}

pub(super) fn unban(session: &Session<'_>, arguments: &Unban) -> Result<Status> {
    let instance = open()?;
    let lock = instance.lock()?;
    let bans = instance.bans()?;
    let sources = match (&arguments.all, &arguments.reason) {
        (true, reason) => {
            let wanted = |one: &&Banned| reason.as_ref().is_none_or(|reason| *reason == one.ban.reason);
            bans.iter().filter(wanted).map(|one| one.ban.source).collect()
        }
        (false, _) => arguments.sources.clone(),
    };
    let mut lifted = Vec::new();
    for source in &sources {
        if instance.unban(&lock, source)? {
            lifted.push(*source);
        } else if !arguments.ignore_missing && !arguments.all {
            bail!(super::No(not_banned(source, &bans)));
        }
    }
    session.answer(
        || json!({ "schema": SCHEMA, "lifted": lifted.iter().map(Prefix::to_string).collect::<Vec<_>>() }),
        || lifted.iter().map(|source| source.to_string() + ": not banned any more\n").collect(),
    )?;
    Ok(Status::Done)
}

fn not_banned(source: &Prefix, bans: &[Banned]) -> String {
    let around = bans.iter().find(|one| one.ban.source.covers(source)).map_or_else(String::new, |one| {
        format!(": {} is, and it among it (`rampart unban {0}` lifts that)", one.ban.source)
    });
    format!("{source} is not banned{around}")
}

pub(super) fn list(session: &Session<'_>) -> Result<Status> {
    let bans = open()?.bans()?;
    session
        .answer(|| json!({ "schema": SCHEMA, "bans": bans.iter().map(value).collect::<Vec<_>>() }), || text(&bans))?;
    Ok(Status::Done)
}

fn value(banned: &Banned) -> Value {
    let Banned { ban: Ban { source, time, reason }, left, hits: (packets, bytes) } = banned;
    json!({
        "source": source.to_string(),
        "seconds": time.map(|time| time.as_secs()),
        "left": left.map(|left| left.as_secs()),
        "packets": packets,
        "bytes": bytes,
        "reason": reason,
    })
}

fn text(bans: &[Banned]) -> String {
    if bans.is_empty() {
        return "nobody is banned\n".to_owned();
    }
    let width = bans.iter().map(|one| one.ban.source.to_string().len()).max().unwrap_or(0).max("source".len());
    let mut out = format!("{:width$}  {:>8}  {:>10}  {:>12}  reason\n", "source", "left", "packets", "bytes");
    for Banned { ban: Ban { source, time: _, reason }, left, hits: (packets, bytes) } in bans {
        let left = left.map_or_else(|| "-".to_owned(), |left| words::seconds(left.as_secs()));
        let source = source.to_string();
        let _ = writeln!(out, "{source:width$}  {left:>8}  {packets:>10}  {bytes:>12}  {}", words::printable(reason));
    }
    while out.contains(" \n") {
        out = out.replace(" \n", "\n");
    }
    out
}

/// Refuses a ban that would lock out whoever asks for it, or cut the host off from itself.
fn refuse(source: &Prefix) -> Result<()> {
    if let Some(what) = danger(source, &own_addresses(), session_peer()) {
        bail!("{source} is {what}: to ban it all the same, say --force");
    }
    Ok(())
}

/// What is wrong with a ban of these sources.
fn danger(source: &Prefix, own: &[IpAddr], peer: Option<IpAddr>) -> Option<String> {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)];
    let (first, _) = source.parts();
    if first.is_loopback() || loopback.into_iter().any(|address| source.contains(address)) {
        return Some("loopback's".to_owned());
    }
    if let Some(address) = own.iter().find(|address| source.contains(**address)) {
        let is_it = Prefix::new(*address, if address.is_ipv4() { 32 } else { 128 }).is_some_and(|one| one == *source);
        return Some(if is_it {
            "an address of this host".to_owned()
        } else {
            format!("where {address}, an address of this host, is in")
        });
    }
    let peer = peer.filter(|peer| source.contains(*peer))?;
    Some(format!("where this session comes from ({peer})"))
}

fn own_addresses() -> Vec<IpAddr> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let address = |storage: nix::sys::socket::SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|one| IpAddr::V4(one.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|one| IpAddr::V6(one.ip())))
    };
    all.filter_map(|one| one.address.and_then(address)).collect()
}

/// The other end of the SSH session that this runs in.
fn session_peer() -> Option<IpAddr> {
    env::var("SSH_CONNECTION").ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_locks_himself_out() {
        let own: Vec<IpAddr> = ["192.0.2.1", "2001:db8::1"].iter().map(|text| text.parse().expect(text)).collect();
        let peer = Some("203.0.113.5".parse().expect("an address"));
        let rows = [
            ("127.0.0.1", Some("loopback's")),
            ("127.5.0.0/16", Some("loopback's")),
            ("::1", Some("loopback's")),
            ("0.0.0.0/0", Some("loopback's")),
            ("192.0.2.1", Some("an address of this host")),
            ("192.0.2.0/24", Some("where 192.0.2.1, an address of this host, is in")),
            ("2001:db8::/64", Some("where 2001:db8::1, an address of this host, is in")),
            ("203.0.113.0/28", Some("where this session comes from (203.0.113.5)")),
            ("203.0.113.9", None),
            ("2001:db8:1::/48", None),
        ];
        for (source, wanted) in rows {
            let source = source.parse().expect("a prefix");
            assert_eq!(danger(&source, &own, peer).as_deref(), wanted, "{source}");
        }
    }
}
