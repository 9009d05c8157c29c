//! Grants in policies: the command line's text, or a table with the same parts.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{BadGrant, Effect, Grant, Method, PathPrefix, Protocol, text};

/// A grant by its parts, not yet in normal form.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The hosts, as in a text.
    pub host: String,
    /// The ports; the protocol's own when there are none.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// How a connection is checked.
    pub protocol: Option<Protocol>,
    /// The methods; any when there are none.
    #[serde(default)]
    pub methods: Vec<String>,
    /// The paths; any when there are none.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Whether the gate looks into TLS.
    #[serde(default)]
    pub inspect: bool,
    /// Whether it takes away.
    #[serde(default)]
    pub deny: bool,
}

impl TryFrom<Table> for Grant {
    type Error = BadGrant;

    fn try_from(table: Table) -> Result<Self, BadGrant> {
        Self {
            effect: if table.deny { Effect::Deny } else { Effect::Allow },
            target: text::parse_target(&table.host)?,
            ports: table.ports,
            protocol: table.protocol,
            methods: table.methods.iter().map(|method| Method::parse(method)).collect::<Result<_, _>>()?,
            paths: table.paths.iter().map(|path| PathPrefix::parse(path)).collect::<Result<_, _>>()?,
            inspect: table.inspect,
        }
        .normal()
    }
}

impl Serialize for Grant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Grant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrTable)
    }
}

struct TextOrTable;

impl<'de> Visitor<'de> for TextOrTable {
    type Value = Grant;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a grant such as `api.example.com:443`, or a table with `host`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Grant, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Grant, A::Error> {
        Table::deserialize(MapAccessDeserializer::new(map))?.try_into().map_err(A::Error::custom)
    }
}
