//! Warninglists (MISP): networks of large clouds and the like, whose addresses belong to one person today and to another tomorrow.

use super::{BYTES_MAX, BadList};
use crate::networks::read_network;
use ipnet::IpNet;
use serde::Deserialize;

/// Most networks of one warninglist; the largest published one has some 60,000.
const NETWORKS_MAX: usize = 250_000;

/// A warninglist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarningList {
    /// What it calls itself, cut to one line.
    pub name: String,
    /// What it warns of.
    pub networks: Vec<IpNet>,
}

impl WarningList {
    /// Reads one. `name`: for a list that has none.
    ///
    /// # Errors
    /// [`BadList`], also if any entry is not a network: a warninglist that is read in part protects in part, and says nothing of it.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self, BadList> {
        #[derive(Deserialize)]
        struct File {
            #[serde(default)]
            name: Option<String>,
            list: Vec<String>,
        }
        if bytes.len() > BYTES_MAX / 4 {
            return Err(BadList::Long);
        }
        let file: File =
            serde_json::from_slice(bytes).map_err(|_| BadList::Shape("a warninglist"))?;
        if file.list.len() > NETWORKS_MAX {
            return Err(BadList::Many);
        }
        let networks: Option<Vec<_>> = file.list.iter().map(|text| read_network(text)).collect();
        let networks = networks.ok_or(BadList::Shape("a warninglist of networks"))?;
        let named = file.name.as_deref().and_then(super::line_of);
        Ok(Self { name: named.map_or_else(|| name.to_owned(), String::from), networks })
    }
}
