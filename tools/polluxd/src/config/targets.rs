//! `[[target]]`.

use super::check::Checker;
use super::fault::Problem;
use super::raw::{RawLun, RawTarget};
use super::{LunConfig, TargetConfig};
use std::collections::{BTreeMap, BTreeSet};
use units::{Lun, limits};
use volume::{Access, Portal};

impl Checker<'_> {
    pub(super) fn check_targets(
        &mut self,
        raw: &[RawTarget],
        volumes: &[&str],
        portals: &[Portal],
    ) -> Vec<TargetConfig> {
        if let Some(over) = raw.get(limits::TARGETS_MAX) {
            let problem = Problem::TooMany { what: "targets", most: limits::TARGETS_MAX };
            self.faults.add(over.name.span(), "target", problem);
        }
        let mut targets: Vec<TargetConfig> = Vec::new();
        for raw in raw {
            let name = self.check_target_name(raw, &targets);
            let owner = match (&name, raw.name.get_ref().as_str()) {
                (Some(name), _) => format!("target {name:?}"),
                (None, "") => "target".into(),
                (None, invalid) => format!("target {invalid:?}"),
            };
            let target = TargetConfig {
                alias: self.check_alias(&owner, raw),
                portal_group: self.check_portal_group(&owner, raw, portals),
                luns: self.check_luns(&owner, raw, volumes),
                access: self.check_access(&owner, raw),
                chap: self.check_chap(&owner, raw.chap.as_ref(), raw.mutual_chap.as_ref()),
                name: name.clone().unwrap_or_default(),
            };
            if name.is_some() {
                targets.push(target);
            }
        }
        targets
    }

    /// The name of a target, if it is a valid one that no other target has.
    fn check_target_name(&mut self, raw: &RawTarget, before: &[TargetConfig]) -> Option<String> {
        // One without a name is known to have none.
        if raw.name.get_ref().is_empty() && self.faults.has("target.name") {
            return None;
        }
        let name = self.check_name("target.name", &raw.name)?;
        if before.iter().any(|t| t.name == name) {
            let problem = Problem::Duplicate(format!("target name {name:?}"));
            self.faults.add(raw.name.span(), "target.name", problem);
            return None;
        }
        Some(name)
    }

    fn check_alias(&mut self, owner: &str, raw: &RawTarget) -> Option<String> {
        let alias = raw.alias.as_ref()?;
        let bytes = alias.get_ref().len();
        if bytes > limits::KEY_VALUE_BYTES_MAX {
            let problem = Problem::LongText { bytes, most: limits::KEY_VALUE_BYTES_MAX };
            self.faults.add(alias.span(), format!("{owner}.alias"), problem);
        }
        Some(alias.get_ref().clone())
    }

    fn check_portal_group(&mut self, owner: &str, raw: &RawTarget, portals: &[Portal]) -> u16 {
        let Some(group) = &raw.portal_group else { return 1 };
        // Without portals in the file, the node listens where its flags say, as group 1.
        let known = if portals.is_empty() {
            *group.get_ref() == 1
        } else {
            portals.iter().any(|p| p.portal_group_tag == *group.get_ref())
        };
        if !known {
            let problem = Problem::AbsentPortalGroup(*group.get_ref());
            self.faults.add(group.span(), format!("{owner}.portal_group"), problem);
        }
        *group.get_ref()
    }

    fn check_luns(
        &mut self,
        owner: &str,
        raw: &RawTarget,
        volumes: &[&str],
    ) -> BTreeMap<u16, LunConfig> {
        let mut luns = BTreeMap::new();
        if raw.luns.len() > limits::LUNS_PER_TARGET_MAX {
            let problem = Problem::TooMany { what: "LUNs", most: limits::LUNS_PER_TARGET_MAX };
            self.faults.add(raw.name.span(), format!("{owner}.luns"), problem);
        }
        for (number, lun) in &raw.luns {
            let text = number.get_ref();
            let valid = |n: &u16| Lun::from_number(*n).is_some() && *text == n.to_string();
            let Some(number) = text.parse::<u16>().ok().filter(valid) else {
                let problem = Problem::BadLun(text.clone());
                self.faults.add(number.span(), format!("{owner}.luns"), problem);
                continue;
            };
            let (volume, read_only) = match lun.get_ref() {
                RawLun::Volume(volume) => (volume, false),
                RawLun::Table(table) => (&table.volume, table.read_only),
            };
            if !volumes.contains(&volume.as_str()) {
                let known = volumes.iter().map(|&v| v.to_owned()).collect();
                let problem = Problem::AbsentVolume { name: volume.clone(), known };
                self.faults.add(lun.span(), format!("{owner}.luns.{number}"), problem);
            }
            luns.insert(number, LunConfig { volume: volume.clone(), read_only });
        }
        luns
    }

    fn check_access(&mut self, owner: &str, raw: &RawTarget) -> Access {
        let Some(list) = &raw.initiators else { return Access::Any };
        let key = format!("{owner}.initiators");
        if list.get_ref().is_empty() {
            self.faults.add(list.span(), &*key, Problem::NoInitiators);
        }
        let names = list.get_ref().iter().filter_map(|name| self.check_name(&key, name));
        let mut seen = BTreeSet::new();
        Access::Initiators(names.filter(|name| seen.insert(name.clone())).collect())
    }
}
