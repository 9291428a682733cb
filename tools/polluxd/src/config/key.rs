//! What follows from the row of a key: how it is read, checked, written and shown.

use super::fault::Problem;
use super::keys::NodeConfig;
use super::values::{
    Poll, buffers_text, check_cores, parse_buffers, parse_oui, parse_size, size_text,
};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use toml::Value;
use units::PoolLayout;

/// One key of `[node]`.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its name, which is also that of its field of [`NodeConfig`].
    pub(crate) name: &'static str,
    /// Its type and its valid values.
    pub(crate) kind: Kind,
    /// When a change takes effect.
    pub(crate) applies: Applies,
    /// Its flag.
    pub(crate) flag: Option<Flag>,
    /// Its label in the status, if it is not shown there as something else.
    pub(crate) status: Option<&'static str>,
    /// Copies its value.
    pub(crate) copy: fn(&NodeConfig, &mut NodeConfig),
    /// Whether its values differ.
    pub(crate) differs: fn(&NodeConfig, &NodeConfig) -> bool,
}

/// When the change of a key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applies {
    /// When the configuration is applied.
    AtOnce,
    /// When polluxd starts again.
    AtRestart,
    /// Never: initiators rely on it.
    Never,
}

/// The flag of a key.
#[derive(Debug)]
pub(crate) struct Flag {
    /// Its name without the dashes.
    pub(crate) long: &'static str,
    /// What its value is called; empty for a switch.
    pub(crate) value_name: &'static str,
    /// What it does. Range and default are added.
    pub(crate) help: &'static str,
}

/// Where a key's value is kept.
#[derive(Debug)]
pub(crate) struct Field<T: 'static> {
    /// The value.
    pub(crate) of: fn(&NodeConfig) -> &T,
    /// The value, to be changed.
    pub(crate) of_mut: fn(&mut NodeConfig) -> &mut T,
}

/// The type of a key. `unset` says what happens where an optional one is not given.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A buffer pool: `"4KiB:4096,256KiB:128"`.
    Buffers { field: Field<PoolLayout> },
    /// A list of cores: `[0, 1]`.
    Cores { field: Field<Option<Vec<u16>>>, unset: &'static str },
    /// A whole number of a unit.
    Number { field: Field<u32>, range: RangeInclusive<u32>, unit: &'static str },
    /// An OUI: `"00a0b1"`.
    Oui { field: Field<Option<[u8; 3]>>, unset: &'static str },
    /// A path; relative ones are relative to the directory of the file.
    Path { field: Field<Option<PathBuf>>, unset: &'static str },
    /// A polling mode.
    Poll { field: Field<Poll> },
    /// A size: `"4MiB"`.
    Size { field: Field<Option<u32>>, range: RangeInclusive<u32>, unset: &'static str },
    /// `true` or `false`.
    Switch { field: Field<bool> },
}

impl Key {
    /// Checks a value as it is written and stores it. Relative paths are relative to `directory`.
    ///
    /// # Errors
    /// Why the value is invalid.
    pub(crate) fn read(
        &self,
        value: &Value,
        directory: &Path,
        node: &mut NodeConfig,
    ) -> Result<(), Problem> {
        let invalid =
            || Problem::BadValue { value: value.to_string(), expected: self.kind.expected() };
        let text = || value.as_str().ok_or_else(invalid);
        match &self.kind {
            Kind::Buffers { field } => *(field.of_mut)(node) = parse_buffers(text()?)?,
            Kind::Cores { field, .. } => {
                let cores = cores_of(value).ok_or_else(invalid)?;
                check_cores(&cores)?;
                *(field.of_mut)(node) = Some(cores);
            }
            Kind::Number { field, range, .. } => {
                let number = value.as_integer().ok_or_else(invalid)?;
                *(field.of_mut)(node) = in_range(number, range)?;
            }
            Kind::Oui { field, .. } => *(field.of_mut)(node) = Some(parse_oui(text()?)?),
            Kind::Path { field, .. } => {
                let path = Some(text()?).filter(|path| !path.is_empty()).ok_or_else(invalid)?;
                *(field.of_mut)(node) = Some(directory.join(path));
            }
            Kind::Poll { field } => {
                *(field.of_mut)(node) = Poll::of_name(text()?).ok_or_else(invalid)?;
            }
            Kind::Size { field, range, .. } => {
                let bytes = match value.as_integer() {
                    Some(bytes) => u64::try_from(bytes).map_err(|_| invalid())?,
                    None => parse_size(text()?)?,
                };
                *(field.of_mut)(node) = Some(size_in_range(bytes, range)?);
            }
            Kind::Switch { field } => {
                *(field.of_mut)(node) = value.as_bool().ok_or_else(invalid)?;
            }
        }
        Ok(())
    }

    /// The value of the key as it is written; none where it is not given.
    pub(crate) fn written(&self, node: &NodeConfig) -> Option<Value> {
        match &self.kind {
            Kind::Buffers { field } => Some(Value::String(buffers_text((field.of)(node)))),
            Kind::Cores { field, .. } => {
                let cores = (field.of)(node).as_ref()?;
                Some(Value::Array(cores.iter().map(|&core| Value::Integer(core.into())).collect()))
            }
            Kind::Number { field, .. } => Some(Value::from(*(field.of)(node))),
            Kind::Oui { field, .. } => {
                let [a, b, c] = (*(field.of)(node))?;
                Some(Value::String(format!("{a:02x}{b:02x}{c:02x}")))
            }
            Kind::Path { field, .. } => {
                let path = (field.of)(node).as_ref()?;
                Some(Value::String(path.display().to_string()))
            }
            Kind::Poll { field } => Some(Value::String((field.of)(node).name().to_owned())),
            Kind::Size { field, .. } => {
                (*(field.of)(node)).map(|bytes| Value::String(size_text(bytes.into())))
            }
            Kind::Switch { field } => Some(Value::Boolean(*(field.of)(node))),
        }
    }

    /// The value for people, with its unit.
    pub(crate) fn text(&self, node: &NodeConfig) -> String {
        match &self.kind {
            Kind::Number { field, unit, .. } => {
                format!("{} {unit}", (field.of)(node)).trim_end().to_owned()
            }
            Kind::Buffers { .. }
            | Kind::Cores { .. }
            | Kind::Oui { .. }
            | Kind::Path { .. }
            | Kind::Poll { .. }
            | Kind::Size { .. }
            | Kind::Switch { .. } => self.bare_text(node),
        }
    }

    /// The default for people, or what happens without the key.
    pub(crate) fn default_text(&self) -> String {
        self.bare_text(&NodeConfig::default())
    }

    /// The range of a number or a size for people.
    pub(crate) fn range_text(&self) -> Option<String> {
        match &self.kind {
            Kind::Number { range, .. } => Some(format!("{} to {}", range.start(), range.end())),
            Kind::Size { range, .. } => {
                let [least, most] = [range.start(), range.end()].map(|&b| size_text(b.into()));
                Some(format!("{least} to {most}"))
            }
            Kind::Buffers { .. }
            | Kind::Cores { .. }
            | Kind::Oui { .. }
            | Kind::Path { .. }
            | Kind::Poll { .. }
            | Kind::Switch { .. } => None,
        }
    }

    /// The value of the flag, as it would be written in the file.
    ///
    /// # Errors
    /// Why the value is invalid.
    pub(crate) fn value_of_flag(&self, text: &str) -> Result<Value, Problem> {
        let number = |text: &str| match text.trim().parse::<i64>() {
            Ok(number) => Value::Integer(number),
            // The check below reports it.
            Err(_) => Value::String(text.to_owned()),
        };
        let value = match &self.kind {
            Kind::Cores { .. } => Value::Array(text.split(',').map(number).collect()),
            Kind::Number { .. } => number(text),
            Kind::Switch { .. } => Value::Boolean(text == "true"),
            Kind::Buffers { .. }
            | Kind::Oui { .. }
            | Kind::Path { .. }
            | Kind::Poll { .. }
            | Kind::Size { .. } => Value::String(text.to_owned()),
        };
        self.read(&value, Path::new(""), &mut NodeConfig::default()).map(|()| value)
    }

    fn bare_text(&self, node: &NodeConfig) -> String {
        match self.written(node) {
            None => self.kind.unset().to_owned(),
            Some(Value::String(text)) => text,
            Some(
                other @ (Value::Array(_)
                | Value::Boolean(_)
                | Value::Datetime(_)
                | Value::Float(_)
                | Value::Integer(_)
                | Value::Table(_)),
            ) => other.to_string(),
        }
    }
}

impl Kind {
    /// What a value must be.
    fn expected(&self) -> String {
        match self {
            Self::Buffers { .. } => {
                "sizes with counts, for example \"4KiB:2048,256KiB:144\"".into()
            }
            Self::Cores { .. } => "a list of cores, for example [0, 1]".into(),
            Self::Number { range, .. } => {
                format!("a number from {} to {}", range.start(), range.end())
            }
            Self::Oui { .. } => "6 hexadecimal digits, for example \"00a0b1\"".into(),
            Self::Path { .. } => "a path, for example \"/var/lib/pollux\"".into(),
            Self::Poll { .. } => {
                let [first, second, third] = Poll::ALL.map(Poll::name);
                format!("{first:?}, {second:?} or {third:?}")
            }
            Self::Size { .. } => "a size, for example \"4MiB\"".into(),
            Self::Switch { .. } => "true or false".into(),
        }
    }

    /// What happens where the key is not given.
    const fn unset(&self) -> &'static str {
        match self {
            Self::Cores { unset, .. }
            | Self::Oui { unset, .. }
            | Self::Path { unset, .. }
            | Self::Size { unset, .. } => unset,
            // These have a value always.
            Self::Buffers { .. }
            | Self::Number { .. }
            | Self::Poll { .. }
            | Self::Switch { .. } => "",
        }
    }
}

fn cores_of(value: &Value) -> Option<Vec<u16>> {
    let core = |core: &Value| u16::try_from(core.as_integer()?).ok();
    value.as_array()?.iter().map(core).collect()
}

fn in_range(number: i64, range: &RangeInclusive<u32>) -> Result<u32, Problem> {
    u32::try_from(number).ok().filter(|number| range.contains(number)).ok_or_else(|| {
        let (least, most) = (i64::from(*range.start()), i64::from(*range.end()));
        Problem::OutOfRange { value: number, least, most }
    })
}

fn size_in_range(bytes: u64, range: &RangeInclusive<u32>) -> Result<u32, Problem> {
    u32::try_from(bytes).ok().filter(|bytes| range.contains(bytes)).ok_or_else(|| {
        let (least, most) = (u64::from(*range.start()), u64::from(*range.end()));
        Problem::SizeOutOfRange { bytes, least, most }
    })
}
