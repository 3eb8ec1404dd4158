//! `[balance.NAME]`: backends that get the values of a map, and whether they are alive.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::balance::{health::Thresholds, share::Choose};

/// The sections `[balance.NAME]`, by name.
pub type Balances = BTreeMap<String, Balance>;

/// A map whose values are written by `rampart agent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Balance {
    /// The map, as `rampart set` names it: `[FAMILY] [TABLE] MAP`; without it, the section's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
    /// Keys of the map, from 0: what stands behind `mod` in the rule.
    #[serde(default = "places")]
    pub places: Places,
    /// How the keys are shared.
    #[serde(default)]
    pub choose: Choose,
    /// Who may get connections.
    pub backends: Vec<Backend>,
    /// What is looked at.
    #[serde(default)]
    pub check: Kind,
    /// The port that is looked at; without it, that of the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_port: Option<u16>,
    /// Target of the request.
    #[serde(default = "root")]
    pub path: String,
    /// `Host` of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The status that is wanted.
    #[serde(default = "ok")]
    pub status: u16,
    /// Between two looks at a backend, milliseconds.
    #[serde(default = "interval")]
    pub interval_ms: Milliseconds,
    /// How long a look may take, milliseconds.
    #[serde(default = "timeout")]
    pub timeout_ms: Milliseconds,
    /// Looks in a row that bring a backend back.
    #[serde(default = "rise")]
    pub rise: Times,
    /// Looks in a row that take it out.
    #[serde(default = "fall")]
    pub fall: Times,
}

impl Balance {
    /// How many looks in a row it takes.
    pub const fn thresholds(&self) -> Thresholds {
        Thresholds { rise: self.rise.0, fall: self.fall.0 }
    }
}

/// What is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Whether a TCP connection can be made.
    #[default]
    Tcp,
    /// Whether a request is answered as it should be.
    Http,
    /// Nothing: the backend is always up.
    None,
}

/// A backend: where packets go instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its address.
    pub address: IpAddr,
    /// Its port, if the map's values have one.
    pub port: Option<u16>,
    /// Its share.
    pub weight: u32,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.port) {
            (address, None) => write!(f, "{address}"),
            (IpAddr::V4(address), Some(port)) => write!(f, "{address}:{port}"),
            (IpAddr::V6(address), Some(port)) => write!(f, "[{address}]:{port}"),
        }
    }
}

impl Backend {
    /// As the value of a map is written.
    pub fn value(&self) -> String {
        self.port.map_or_else(|| self.address.to_string(), |port| format!("{} . {port}", self.address))
    }

    fn read(text: &str) -> Option<Self> {
        let socket = text.parse::<std::net::SocketAddr>().map(|socket| (socket.ip(), Some(socket.port())));
        let (address, port) = socket.or_else(|_| text.parse().map(|address| (address, None))).ok()?;
        Some(Self { address, port, weight: 1 })
    }
}

/// A backend as it stands in the file beside its weight.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weighted {
    to: String,
    weight: Weight,
}

impl Serialize for Backend {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.weight {
            1 => serializer.collect_str(self),
            weight => Weighted { to: self.to_string(), weight: Number(weight) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Backend {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BackendVisitor)
    }
}

struct BackendVisitor;

impl<'de> Visitor<'de> for BackendVisitor {
    type Value = Backend;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("\"ADDRESS\", \"ADDRESS:PORT\", or { to = \"ADDRESS:PORT\", weight = N }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Backend, E> {
        Backend::read(text).ok_or_else(|| E::custom(format!("`{text}` is no ADDRESS and no ADDRESS:PORT")))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Backend, A::Error> {
        let Weighted { to, weight } = Weighted::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Backend { weight: weight.0, ..self.visit_str(&to)? })
    }
}

/// A number of which not every one makes sense: from `LEAST` to `MOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Number<const LEAST: u32, const MOST: u32>(pub u32);

/// So many keys.
pub(super) type Places = Number<1, 65_537>;
/// So long.
pub(super) type Milliseconds = Number<10, 3_600_000>;
/// So often.
pub(super) type Times = Number<1, 1_000>;
/// So large a share; 0 for none.
pub(super) type Weight = Number<0, 1_000>;

impl<'de, const LEAST: u32, const MOST: u32> Deserialize<'de> for Number<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        let fits = u32::try_from(number).ok().filter(|number| (LEAST..=MOST).contains(number));
        fits.map(Self).ok_or_else(|| Error::custom(format!("{number} is not from {LEAST} to {MOST}")))
    }
}

const fn places() -> Places {
    Number(251)
}

fn root() -> String {
    "/".to_owned()
}

const fn ok() -> u16 {
    200
}

const fn interval() -> Milliseconds {
    Number(2000)
}

const fn timeout() -> Milliseconds {
    Number(1000)
}

const fn rise() -> Times {
    Number(2)
}

const fn fall() -> Times {
    Number(3)
}
