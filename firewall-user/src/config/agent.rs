//! What the agent does.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU64,
    path::PathBuf,
};

use serde::{Deserialize, Deserializer, de::Error};

use crate::cli::{observing, values::EventFilter};

/// Where it listens when nobody says where.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9630);
/// Most rules that are told of one by one.
const RULES: usize = 200;
/// MiB at which a file of events is begun anew.
const FILE_SIZE: u64 = 64;

/// Settings of the agent. They take effect when it is started; what is typed overrules them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Agent {
    listen: Option<SocketAddr>,
    hosts: Vec<String>,
    rules: Option<usize>,
    follow_interfaces: bool,
    events_file: Option<PathBuf>,
    events_file_size: Option<NonZeroU64>,
    syslog: bool,
    journald: bool,
    #[serde(deserialize_with = "filters")]
    filters: Vec<EventFilter>,
}

fn filters<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<EventFilter>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}

/// What the agent is to do, by settings and by what was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Host names that are answered besides addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Most rules that are told of one by one.
    pub rules: usize,
    /// Does it attach to new interfaces?
    pub follow_interfaces: bool,
    /// The file of events.
    pub events_file: Option<PathBuf>,
    /// MiB at which it is begun anew.
    pub events_file_size: u64,
    /// Are events sent to the system's log?
    pub syslog: bool,
    /// Are they sent to journald?
    pub journald: bool,
    /// Which of them.
    pub filters: Vec<EventFilter>,
}

impl Agent {
    /// Settings, overruled by what was typed.
    pub fn with(&self, typed: &observing::Agent) -> Chosen {
        let list = |typed: &[String], set: &[String]| if typed.is_empty() { set.to_vec() } else { typed.to_vec() };
        Chosen {
            listen: typed.listen.or(self.listen).unwrap_or(LISTEN),
            hosts: list(&typed.hosts, &self.hosts),
            rules: typed.rules.or(self.rules).unwrap_or(RULES),
            follow_interfaces: typed.follow_interfaces || self.follow_interfaces,
            events_file: typed.events_file.clone().or_else(|| self.events_file.clone()),
            events_file_size: typed
                .events_file_size
                .or(self.events_file_size.map(NonZeroU64::get))
                .unwrap_or(FILE_SIZE),
            syslog: typed.syslog || self.syslog,
            journald: typed.journald || self.journald,
            filters: if typed.filters.is_empty() { self.filters.clone() } else { typed.filters.clone() },
        }
    }
}
