//! What is served: a thread for each request, of which there are few at once.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    http::{self, Asked, LONGEST, Reply},
    page::PAGE,
};
use crate::{
    cli::observing::Agent,
    commands::{counters, metrics},
    compile::SCHEMA,
    kernel::{Instance, KernelError, monotonic_ns},
    observe::{self, clock::Clock, drops, metrics::Format, status::attachment_json},
};

/// How long one request may take, all in all.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests at once; more are turned away.
const AT_ONCE: usize = 16;
/// Sources of drops that are shown.
const DROPS: usize = 20;

/// Serves for as long as the process lives.
pub(super) fn start(listener: TcpListener, agent: &Agent) -> io::Result<()> {
    let (hosts, rules) = (Arc::new(agent.hosts.clone()), agent.rules);
    let busy = Arc::new(AtomicUsize::new(0));
    let accept = move || {
        // One that is gone already, or no descriptor left for now: the next one may be better.
        for stream in listener.incoming().flatten() {
            if busy.fetch_add(1, Ordering::Relaxed) >= AT_ONCE {
                busy.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (hosts, place) = (Arc::clone(&hosts), Arc::clone(&busy));
            let work = move || {
                let _ = talk(stream, &hosts, rules);
                place.fetch_sub(1, Ordering::Relaxed);
            };
            if thread::Builder::new().name("request".to_owned()).spawn(work).is_err() {
                busy.fetch_sub(1, Ordering::Relaxed);
            }
        }
    };
    thread::Builder::new().name("http".to_owned()).spawn(accept).map(drop)
}

/// One request and its answer.
fn talk(mut stream: TcpStream, hosts: &[String], rules: usize) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    let (reply, with_body) = match hear(&mut stream, end)? {
        Ok(asked) => (answer(&asked, hosts, rules), asked.method != "HEAD"),
        Err(wrong) => (Reply::plain("400 Bad Request", wrong), true),
    };
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&reply.bytes(with_body))?;
    stream.shutdown(Shutdown::Both)
}

fn hear(stream: &mut TcpStream, end: Instant) -> io::Result<Result<Asked, &'static str>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(&mut chunk)?;
        bytes.extend_from_slice(&chunk[..count]);
        match http::read(&bytes) {
            Ok(Some(asked)) => return Ok(Ok(asked)),
            Ok(None) if count == 0 || bytes.len() >= LONGEST => return Ok(Err("the request is not whole")),
            Ok(None) => {}
            Err(wrong) => return Ok(Err(wrong)),
        }
    }
}

fn answer(asked: &Asked, hosts: &[String], rules: usize) -> Reply {
    if !matches!(asked.method.as_str(), "GET" | "HEAD") {
        return Reply::plain("405 Method Not Allowed", "only reading is possible here");
    }
    if !asked.is_for_us(hosts) || asked.is_foreign() {
        return Reply::plain("403 Forbidden", "not for this host; see `rampart agent --host`");
    }
    let made = match asked.path.as_str() {
        "/metrics" => metrics_reply(asked, rules),
        "/" => Ok(Reply { status: "200 OK", media_type: "text/html; charset=utf-8", body: PAGE.to_owned() }),
        "/api/state" => {
            state().map(|state| Reply { status: "200 OK", media_type: "application/json", body: format!("{state}\n") })
        }
        _ => return Reply::plain("404 Not Found", "there are /, /metrics and /api/state"),
    };
    made.unwrap_or_else(|error| Reply::plain("503 Service Unavailable", &error.to_string()))
}

fn metrics_reply(asked: &Asked, rules: usize) -> Result<Reply, KernelError> {
    let wants_open = asked.accept.contains("application/openmetrics-text");
    let format = if wants_open { Format::OpenMetrics } else { Format::Prometheus };
    let body = metrics::told(open()?.as_ref(), format, rules)?;
    Ok(Reply { status: "200 OK", media_type: format.media_type(), body })
}

fn open() -> Result<Option<Instance>, KernelError> {
    match Instance::open() {
        Ok(instance) => Ok(Some(instance)),
        Err(KernelError::NotRunning) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the page shows.
fn state() -> Result<Value, KernelError> {
    let Some(instance) = open()? else { return Ok(json!({ "schema": SCHEMA, "running": false })) };
    let generation = instance.generation()?;
    let manifest = instance.manifest_of(generation)?;
    let clock = Clock::new(monotonic_ns());
    let interfaces = counters::read(&instance, &[])?;
    let ledger = instance.ledger()?;
    let drops = ledger.iter().take(DROPS).map(|dropped| {
        let manifest = (dropped.generation == generation).then_some(&manifest);
        let source = drops::source(dropped).map(|source| source.to_string());
        json!({ "source": source, "dropped": drops::Drop::new(dropped, manifest).json(clock) })
    });
    let counters = interfaces.iter().map(|(name, counted)| (name.clone(), observe::counters::json(counted)));
    Ok(json!({
        "schema": SCHEMA,
        "running": true,
        "generation": generation,
        "rules": manifest.rules.len(),
        "interfaces": counters.collect::<serde_json::Map<_, _>>(),
        "attached": instance.interfaces()?.iter().map(attachment_json).collect::<Vec<_>>(),
        "connections": metrics::connections(&instance)?.into_iter().map(|(state, count)| (state.to_owned(), count.into()))
            .collect::<serde_json::Map<_, _>>(),
        "capacity": instance.flow_capacity(),
        "drops": drops.collect::<Vec<_>>(),
        "events_lost": instance.lost_events()?,
    }))
}
