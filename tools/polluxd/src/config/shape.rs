//! Text -> raw types: which keys there are, and the types of their values. It goes on after each
//! fault, so that all of a file are found at once. Key by key, because serde ends at the first.

use super::fault::Problem;
use super::faults::Faults;
use super::raw::{
    RawConfig, RawCredential, RawDiscovery, RawLun, RawLunTable, RawNode, RawPortal, RawTarget,
    RawVolume,
};
use super::values::parse_size;
use control_api::VolumeKind;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Value};

const BOOLEAN: &str = "true or false";
const CREDENTIAL: &str = "{ name = NAME, secret_file = PATH }";
const GROUP: &str = "a number from 0 to 65535";
const KIND: &str = "\"file\", \"block\", \"memory\" or \"null\"";
const LUN: &str = "the name of a volume, or { volume = \"name\", read_only = true }";
const TARGET_NAME: &str = "an iSCSI name, for example \"iqn.2026-11.org.example:disk1\"";
const VOLUME_NAME: &str = "a name, for example \"vm-01\"";

/// Reads a file. What has a fault of shape is left out, or has a value in its place that causes no
/// other fault.
pub(super) fn read_shape(faults: &mut Faults<'_>, text: &str) -> RawConfig {
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        faults.add_syntax(error);
    }
    let mut file = Section::new(String::new(), root.span(), root.get_ref(), faults);
    file.refuse_others(&["node", "discovery", "portal", "volume", "target"]);
    RawConfig {
        node: file.section("node", "a table: [node]").map(node).unwrap_or_default(),
        discovery: file.section("discovery", "a table: [discovery]").map(discovery),
        portals: file.sections("portal", "tables, each with the header [[portal]]", portal),
        volumes: file.sections("volume", "tables, each with the header [[volume]]", volume),
        targets: file.sections("target", "tables, each with the header [[target]]", target),
    }
}

fn node(section: Section<'_, '_, '_>) -> RawNode {
    let mut node = RawNode::default();
    for (key, value) in section.table {
        let name = Spanned::new(key.span(), key.get_ref().clone().into_owned());
        match Value::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(read) => node.insert(name, Spanned::new(value.span(), read)),
            Err(error) => section.faults.add_syntax(&error),
        }
    }
    node
}

fn discovery(mut section: Section<'_, '_, '_>) -> RawDiscovery {
    section.refuse_others(&["chap", "mutual_chap"]);
    RawDiscovery {
        chap: section.credential("chap"),
        mutual_chap: section.credential("mutual_chap"),
    }
}

fn portal(mut section: Section<'_, '_, '_>) -> Option<RawPortal> {
    section.refuse_others(&["address", "group"]);
    let address = "ADDRESS:PORT, for example \"192.0.2.1:3260\"";
    let group = section.number("group", GROUP);
    Some(RawPortal { address: section.required_text("address", address)?, group })
}

fn volume(mut section: Section<'_, '_, '_>) -> Option<RawVolume> {
    let (name, unnamed) = (section.required_text("name", VOLUME_NAME), section.unnamed());
    section.name_after(name.as_ref());
    section.refuse_others(&[
        "name",
        "kind",
        "path",
        "size",
        "block_size",
        "read_only",
        "write_cache",
        "adopt",
        "whole_blocks",
    ]);
    let kind = section.kind();
    let path = section.text("path", "a path, for example \"/srv/vm-01.img\"");
    let size = section.size_text("size", "a size, for example \"20GiB\"");
    let block_size = section.block_size();
    let read_only = section.boolean("read_only").is_some_and(|value| *value.get_ref());
    let write_cache = section.boolean("write_cache");
    let adopt = section.boolean("adopt");
    let whole_blocks = section.boolean("whole_blocks");
    Some(RawVolume {
        name: name.unwrap_or(unnamed),
        kind,
        path,
        size,
        block_size,
        read_only,
        write_cache,
        adopt,
        whole_blocks,
    })
}

fn target(mut section: Section<'_, '_, '_>) -> Option<RawTarget> {
    let (name, unnamed) = (section.required_text("name", TARGET_NAME), section.unnamed());
    section.name_after(name.as_ref());
    section.refuse_others(&[
        "name",
        "alias",
        "portal_group",
        "initiators",
        "luns",
        "chap",
        "mutual_chap",
    ]);
    let alias = section.text("alias", "a text");
    let portal_group = section.number("portal_group", GROUP);
    let initiators = section.initiators();
    let luns = section.section("luns", "a table, for example { 0 = \"vm-01\" }").map(luns);
    let luns = luns.unwrap_or_default();
    let (chap, mutual_chap) = (section.credential("chap"), section.credential("mutual_chap"));
    let name = name.unwrap_or(unnamed);
    Some(RawTarget { name, alias, portal_group, initiators, luns, chap, mutual_chap })
}

fn luns(mut section: Section<'_, '_, '_>) -> BTreeMap<Spanned<String>, Spanned<RawLun>> {
    let mut luns = BTreeMap::new();
    for (key, value) in section.table {
        let name = key.get_ref().as_ref();
        let lun = match value.get_ref() {
            DeValue::String(volume) => Some(RawLun::Volume(volume.clone().into_owned())),
            DeValue::Table(_) => section.section(name, LUN).and_then(lun_table),
            DeValue::Array(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Float(_)
            | DeValue::Integer(_) => {
                section.refuse(name, value, LUN);
                None
            }
        };
        if let Some(lun) = lun {
            let number = Spanned::new(key.span(), name.to_owned());
            luns.insert(number, Spanned::new(value.span(), lun));
        }
    }
    luns
}

fn lun_table(mut section: Section<'_, '_, '_>) -> Option<RawLun> {
    section.refuse_others(&["volume", "read_only"]);
    let read_only = section.boolean("read_only").is_some_and(|value| *value.get_ref());
    let volume = section.required_text("volume", "the name of a volume")?.into_inner();
    Some(RawLun::Table(RawLunTable { volume, read_only }))
}

fn credential(mut section: Section<'_, '_, '_>) -> Option<RawCredential> {
    section.refuse_others(&["name", "secret_file"]);
    let name = section.required_text("name", "the CHAP name");
    let secret_file = section.required_text("secret_file", "the path of a file of mode 0600");
    Some(RawCredential { name: name?, secret_file: secret_file? })
}

/// One table of the file, and where its faults go.
struct Section<'t, 'f, 's> {
    /// What its keys begin with in messages.
    owner: String,
    span: Range<usize>,
    table: &'t DeTable<'t>,
    faults: &'f mut Faults<'s>,
}

impl<'t, 's> Section<'t, '_, 's> {
    fn new<'f>(
        owner: String,
        span: Range<usize>,
        table: &'t DeTable<'t>,
        faults: &'f mut Faults<'s>,
    ) -> Section<'t, 'f, 's> {
        Section { owner, span, table, faults }
    }

    /// The key in messages.
    fn key(&self, key: &str) -> String {
        if self.owner.is_empty() { key.to_owned() } else { format!("{}.{key}", self.owner) }
    }

    /// In place of a name that is missing or cannot be read, so that the rest is checked.
    fn unnamed(&self) -> Spanned<String> {
        Spanned::new(self.span.clone(), String::new())
    }

    /// From now on messages have the name of the volume or target.
    fn name_after(&mut self, name: Option<&Spanned<String>>) {
        if let Some(name) = name {
            self.owner = format!("{} {:?}", self.owner, name.get_ref());
        }
    }

    fn refuse(&mut self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str) {
        let problem =
            Problem::BadValue { value: shown(value.get_ref()), expected: expected.to_owned() };
        self.faults.add(value.span(), self.key(key), problem);
    }

    fn refuse_others(&mut self, known: &[&'static str]) {
        for key in self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let problem = Problem::UnknownKey { known: known.to_vec() };
            self.faults.add(key.span(), self.key(key.get_ref()), problem);
        }
    }

    /// The value of a key, where it has one that can be read.
    fn value<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&DeValue<'t>) -> Option<T>,
    ) -> Option<Spanned<T>> {
        let value = self.table.get(key)?;
        let read = read(value.get_ref());
        if read.is_none() {
            self.refuse(key, value, expected);
        }
        Some(Spanned::new(value.span(), read?))
    }

    fn text(&mut self, key: &str, expected: &str) -> Option<Spanned<String>> {
        self.value(key, expected, |value| value.as_str().map(str::to_owned))
    }

    fn required_text(&mut self, key: &str, expected: &'static str) -> Option<Spanned<String>> {
        self.require(key, expected);
        self.text(key, expected)
    }

    fn require(&mut self, key: &str, expected: &'static str) {
        if !self.table.contains_key(key) {
            let problem = Problem::MissingKey { expected };
            self.faults.add(self.span.clone(), self.key(key), problem);
        }
    }

    fn boolean(&mut self, key: &str) -> Option<Spanned<bool>> {
        self.value(key, BOOLEAN, DeValue::as_bool)
    }

    fn number<T: TryFrom<i64>>(&mut self, key: &str, expected: &str) -> Option<Spanned<T>> {
        self.value(key, expected, |value| T::try_from(integer(value)?).ok())
    }

    /// A size: as a text, or as a number of bytes.
    fn size_text(&mut self, key: &str, expected: &str) -> Option<Spanned<String>> {
        self.value(key, expected, |value| match value.as_str() {
            Some(text) => Some(text.to_owned()),
            None => integer(value).map(|bytes| bytes.to_string()),
        })
    }

    fn block_size(&mut self) -> Option<Spanned<u32>> {
        self.value("block_size", "512 or 4096", |value| match value.as_str() {
            Some(text) => u32::try_from(parse_size(text).ok()?).ok(),
            None => u32::try_from(integer(value)?).ok(),
        })
    }

    /// The kind of a volume; a file where it cannot be read, which needs no other key.
    fn kind(&mut self) -> Spanned<VolumeKind> {
        self.require("kind", KIND);
        let of_name = |name: &str| VolumeKind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = self.value("kind", KIND, |value| of_name(value.as_str()?));
        kind.unwrap_or_else(|| Spanned::new(self.span.clone(), VolumeKind::File))
    }

    fn initiators(&mut self) -> Option<Spanned<Vec<Spanned<String>>>> {
        let key = "initiators";
        let value = self.table.get(key)?;
        let Some(list) = value.get_ref().as_array() else {
            self.refuse(key, value, "a list of iSCSI names");
            return None;
        };
        let mut names = Vec::new();
        for name in list {
            match name.get_ref().as_str() {
                Some(text) => names.push(Spanned::new(name.span(), text.to_owned())),
                None => self.refuse(key, name, TARGET_NAME),
            }
        }
        // A list whose names cannot be read is not an empty one.
        (names.len() == list.len()).then(|| Spanned::new(value.span(), names))
    }

    fn credential(&mut self, key: &str) -> Option<RawCredential> {
        self.section(key, CREDENTIAL).and_then(credential)
    }

    fn section(&mut self, key: &str, expected: &str) -> Option<Section<'t, '_, 's>> {
        let value = self.table.get(key)?;
        let Some(table) = value.get_ref().as_table() else {
            // Without the value: it may be a secret in the wrong place.
            let value_type = value.get_ref().type_str();
            let problem = Problem::BadValue {
                value: format!("of type {value_type}"),
                expected: expected.to_owned(),
            };
            self.faults.add(value.span(), self.key(key), problem);
            return None;
        };
        Some(Self::new(self.key(key), value.span(), table, self.faults))
    }

    /// What can be read of a list of tables.
    fn sections<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl Fn(Section<'t, '_, 's>) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = self.table.get(key) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.refuse(key, value, expected);
            return Vec::new();
        };
        let mut found = Vec::new();
        for item in list {
            match item.get_ref().as_table() {
                Some(table) => {
                    found.extend(read(Self::new(self.key(key), item.span(), table, self.faults)));
                }
                None => self.refuse(key, item, expected),
            }
        }
        found
    }
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A value in a message. A text that should be something else is short, a list or table is not.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "of type array".into(),
        DeValue::Table(_) => "of type table".into(),
    }
}
