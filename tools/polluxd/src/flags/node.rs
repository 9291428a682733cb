//! The flags of the keys of `[node]`, made from their table.

use crate::config::{Flag, Key, Kind, NODE_KEYS, NodeConfig, Poll};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, error::ErrorKind};
use std::path::Path;
use toml::Value;

/// The keys that were given as flags.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeFlags {
    given: Vec<&'static Key>,
    values: NodeConfig,
}

impl NodeFlags {
    /// A configuration with these flags over it.
    pub(crate) fn over(&self, mut node: NodeConfig) -> NodeConfig {
        for key in &self.given {
            (key.copy)(&self.values, &mut node);
        }
        node
    }

    fn set(&mut self, key: &'static Key, value: &Value) -> Result<(), Error> {
        // The value was checked when it was parsed. Relative paths stay as they are.
        key.read(value, Path::new(""), &mut self.values)
            .map_err(|problem| Error::raw(ErrorKind::ValueValidation, problem))?;
        self.given.push(key);
        Ok(())
    }
}

impl Args for NodeFlags {
    fn augment_args(command: Command) -> Command {
        let flags = NODE_KEYS.iter().filter_map(|key| Some(argument(key, key.flag.as_ref()?)));
        flags.fold(command, Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for NodeFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for key in NODE_KEYS.iter().filter(|key| key.flag.is_some()) {
            if matches!(key.kind, Kind::Switch { .. }) {
                if matches.get_flag(key.name) {
                    self.set(key, &Value::Boolean(true))?;
                }
            } else if let Some(value) = matches.get_one::<Value>(key.name) {
                self.set(key, value)?;
            }
        }
        Ok(())
    }
}

fn argument(key: &'static Key, flag: &'static Flag) -> Arg {
    let argument = Arg::new(key.name).long(flag.long);
    if matches!(key.kind, Kind::Switch { .. }) {
        return argument.action(ArgAction::SetTrue).help(flag.help);
    }
    let range = key.range_text().map(|range| format!(" [range: {range}]")).unwrap_or_default();
    let help = format!("{}{range} [default: {}]", flag.help, key.default_text());
    let argument = argument.value_name(flag.value_name).help(help);
    if matches!(key.kind, Kind::Poll { .. }) {
        let modes = Poll::ALL.map(|mode| PossibleValue::new(mode.name()).help(mode.help()));
        return argument.value_parser(PossibleValuesParser::new(modes).map(Value::String));
    }
    argument
        .value_parser(|text: &str| key.value_of_flag(text).map_err(|problem| problem.to_string()))
}
