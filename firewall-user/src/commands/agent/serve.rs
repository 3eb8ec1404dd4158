//! What is served: a thread for each request, of which there are few at once.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    balance::Board,
    http::{self, Asked, LONGEST, Reply},
    page::PAGE,
    state::State,
};
use crate::{
    commands::{metrics, why},
    compile::SCHEMA,
    config::Chosen,
    kernel::{Instance, KernelError},
    observe::metrics::Format,
};

/// How long one request may take, all in all.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests at once; more are turned away.
const AT_ONCE: usize = 16;

/// What requests share.
struct Served {
    hosts: Vec<String>,
    rules: usize,
    backends: Board,
    state: Mutex<State>,
    /// Held while a question is answered: the verifier looks at a shadow of the programs for each, and one CPU is enough
    /// for strangers.
    question: Mutex<()>,
}

/// Serves for as long as the process lives.
pub(super) fn start(listener: TcpListener, agent: &Chosen, backends: Board) -> io::Result<()> {
    let served = Arc::new(Served {
        hosts: agent.hosts.clone(),
        rules: agent.rules,
        backends,
        state: Mutex::default(),
        question: Mutex::default(),
    });
    let busy = Arc::new(AtomicUsize::new(0));
    let accept = move || {
        // One that is gone already, or no descriptor left for now: the next one may be better.
        for stream in listener.incoming().flatten() {
            if busy.fetch_add(1, Ordering::Relaxed) >= AT_ONCE {
                busy.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (served, place) = (Arc::clone(&served), Arc::clone(&busy));
            let work = move || {
                let _ = talk(stream, &served);
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
fn talk(mut stream: TcpStream, served: &Served) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    let (reply, with_body) = match hear(&mut stream, end)? {
        Ok(asked) => (answer(&asked, served), asked.method != "HEAD"),
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

fn answer(asked: &Asked, served: &Served) -> Reply {
    if !matches!(asked.method.as_str(), "GET" | "HEAD") {
        return Reply::plain("405 Method Not Allowed", "only reading is possible here");
    }
    if !asked.is_for_us(&served.hosts) || asked.is_foreign() {
        return Reply::plain("403 Forbidden", "not for this host; see `rampart agent --host`");
    }
    let made = match asked.path.as_str() {
        "/metrics" => metrics_reply(asked, served),
        "/" => Ok(Reply { status: "200 OK", media_type: "text/html; charset=utf-8", body: PAGE.to_owned() }),
        "/api/state" => {
            // Nothing is left half done in it: one that panicked is as good as another.
            let mut state = served.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.told().map(|state| Reply::json("200 OK", &state))
        }
        "/api/why" => return why_reply(asked, served),
        _ => return Reply::plain("404 Not Found", "there are /, /metrics, /api/state and /api/why"),
    };
    made.unwrap_or_else(|error| Reply::plain("503 Service Unavailable", &error.to_string()))
}

/// What `rampart why` says: `packet` in its words, `interface`, `direction` in or out.
fn why_reply(asked: &Asked, served: &Served) -> Reply {
    let refused = |status, message: &str| Reply::json(status, &json!({ "schema": SCHEMA, "error": message }));
    let Ok(_one) = served.question.try_lock() else {
        return refused("429 Too Many Requests", "another question is being answered: ask again in a moment");
    };
    let Some(packet) = asked.parameter("packet") else { return refused("400 Bad Request", "no `packet` to ask about") };
    let interface = asked.parameter("interface").filter(|name| !name.is_empty());
    let is_leaving = match asked.parameter("direction").as_deref() {
        None | Some("in") => false,
        Some("out") => true,
        Some(_) => return refused("400 Bad Request", "the direction is `in` or `out`"),
    };
    match why::asked(&packet, interface.as_deref(), is_leaving) {
        Ok(answer) => Reply::json("200 OK", &answer),
        Err(error) if error.is::<KernelError>() => refused("503 Service Unavailable", &format!("{error:#}")),
        Err(error) => refused("400 Bad Request", &format!("{error:#}")),
    }
}

fn metrics_reply(asked: &Asked, served: &Served) -> Result<Reply, KernelError> {
    let wants_open = asked.accept.contains("application/openmetrics-text");
    let format = if wants_open { Format::OpenMetrics } else { Format::Prometheus };
    let backends = served.backends.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let body = metrics::told(open()?.as_ref(), format, served.rules, &backends)?;
    Ok(Reply { status: "200 OK", media_type: format.media_type(), body })
}

pub(super) fn open() -> Result<Option<Instance>, KernelError> {
    match Instance::open() {
        Ok(instance) => Ok(Some(instance)),
        Err(KernelError::NotRunning) => Ok(None),
        Err(error) => Err(error),
    }
}
