//! Changes that perfctl makes: each edits the node's own catalog and brings it into force, so
//! that what runs is always what the next start would serve.

use super::Daemon;
use super::apply::Proposal;
use super::start::catalog_text;
use crate::config::{RawConfig, RawLun, RawLunTable, RawTarget, RawVolume, unplaced};
use crate::settings::load_text;
use crate::state::durable;
use control_api::{
    ErrorCode, LunMap, LunUnmap, RpcError, TargetCreate, TargetDelete, TargetInfo, VolumeCreate,
    VolumeDelete, VolumeDeleted, VolumeInfo, VolumeKind,
};
use units::limits;

impl Daemon {
    /// Changes the node's own catalog, whole or not at all.
    fn edit(
        &mut self,
        change: impl FnOnce(&mut RawConfig) -> Result<(), RpcError>,
        must_serve: Option<String>,
    ) -> Result<(), RpcError> {
        if self.loaded.is_master {
            return Err(self.master_refusal());
        }
        let mut raw = self.loaded.raw.clone();
        change(&mut raw)?;
        let text =
            catalog_text(&raw).map_err(|e| RpcError::new(ErrorCode::Internal, e.to_string()))?;
        let loaded = load_text(&self.loaded.file, false, &text).map_err(|faults| {
            // The places are those of a text that the caller has never seen.
            let sentences: Vec<_> = faults.iter().map(|f| f.sentence()).collect();
            RpcError::new(ErrorCode::InvalidParams, sentences.join("\n"))
        })?;
        self.adopt(Proposal { loaded, catalog_text: Some(text), must_serve }).map(|_| ())
    }

    pub(super) fn volume_create(&mut self, params: VolumeCreate) -> Result<VolumeInfo, RpcError> {
        let name = params.name.clone();
        let add = |raw: &mut RawConfig| {
            if raw.volumes.iter().any(|v| *v.name.get_ref() == params.name) {
                return Err(exists("volume", &params.name));
            }
            raw.volumes.push(RawVolume {
                path: params.path.map(unplaced),
                size: params.size.map(unplaced),
                block_size: params.block_size.map(unplaced),
                read_only: params.read_only,
                ..RawVolume::new(params.name, params.kind)
            });
            Ok(())
        };
        self.edit(add, Some(name.clone()))?;
        self.volume_info(&name).ok_or_else(|| absent("volume", &name))
    }

    pub(super) fn volume_delete(
        &mut self,
        params: VolumeDelete,
    ) -> Result<VolumeDeleted, RpcError> {
        if self.loaded.is_master {
            return Err(self.master_refusal());
        }
        let name = params.name;
        let volume = self.volumes.find(&name).ok_or_else(|| absent("volume", &name))?;
        let path = volume.path.clone();
        let removable = volume.config.kind == VolumeKind::File && params.remove_file;
        let luns = self.luns_of(&name);
        if let Some(lun) = luns.first() {
            let sentence = format!("volume {name} is LUN {} of target {}", lun.lun, lun.target);
            let hint = format!("Run perfctl target unmap {} {} first.", lun.target, lun.lun);
            return Err(RpcError::new(ErrorCode::Busy, sentence).on(name).hint(hint));
        }
        self.edit(
            |raw| {
                raw.volumes.retain(|v| *v.name.get_ref() != name);
                Ok(())
            },
            None,
        )?;
        let failed = |what: String, e: std::io::Error| {
            RpcError::new(
                ErrorCode::Environment,
                format!("volume {name} is deleted, but {what}: {e}"),
            )
        };
        self.state
            .forget_record(&name)
            .map_err(|e| failed("its record could not be removed".into(), e))?;
        if removable && let Some(file) = &path {
            durable::remove(file)
                .map_err(|e| failed(format!("{} could not be removed", file.display()), e))?;
            return Ok(VolumeDeleted { name, file_left: None });
        }
        Ok(VolumeDeleted { name, file_left: path.map(|p| p.display().to_string()) })
    }

    pub(super) fn target_create(&mut self, params: TargetCreate) -> Result<TargetInfo, RpcError> {
        let name = params.name.to_ascii_lowercase();
        let add = |raw: &mut RawConfig| {
            if position(raw, &params.name).is_some() {
                return Err(exists("target", &params.name));
            }
            let initiators =
                params.initiators.map(|names| unplaced(names.into_iter().map(unplaced).collect()));
            raw.targets.push(RawTarget {
                alias: params.alias.map(unplaced),
                portal_group: params.portal_group.map(unplaced),
                initiators,
                ..RawTarget::new(params.name)
            });
            Ok(())
        };
        self.edit(add, None)?;
        self.target_info(&name).ok_or_else(|| absent("target", &name))
    }

    pub(super) fn target_delete(&mut self, params: &TargetDelete) -> Result<(), RpcError> {
        let remove = |raw: &mut RawConfig| {
            let place =
                position(raw, &params.name).ok_or_else(|| absent("target", &params.name))?;
            raw.targets.remove(place);
            Ok(())
        };
        self.edit(remove, None)
    }

    pub(super) fn lun_map(&mut self, params: LunMap) -> Result<TargetInfo, RpcError> {
        let name = params.target.to_ascii_lowercase();
        let map = |raw: &mut RawConfig| {
            if !raw.volumes.iter().any(|v| *v.name.get_ref() == params.volume) {
                return Err(absent("volume", &params.volume));
            }
            let target = find(raw, &params.target)?;
            let lun = match params.lun {
                Some(lun) => lun,
                None => lowest_free_lun(target)?,
            };
            let key = unplaced(lun.to_string());
            if target.luns.contains_key(&key) {
                let sentence = format!("target {} has a LUN {lun}", params.target);
                return Err(RpcError::new(ErrorCode::AlreadyExists, sentence).on(params.target));
            }
            let entry = if params.read_only {
                RawLun::Table(RawLunTable { volume: params.volume, read_only: true })
            } else {
                RawLun::Volume(params.volume)
            };
            target.luns.insert(key, unplaced(entry));
            Ok(())
        };
        self.edit(map, None)?;
        self.target_info(&name).ok_or_else(|| absent("target", &name))
    }

    pub(super) fn lun_unmap(&mut self, params: &LunUnmap) -> Result<TargetInfo, RpcError> {
        let unmap = |raw: &mut RawConfig| {
            let target = find(raw, &params.target)?;
            match target.luns.remove(&unplaced(params.lun.to_string())) {
                Some(_) => Ok(()),
                None => {
                    let sentence = format!("target {} has no LUN {}", params.target, params.lun);
                    Err(RpcError::new(ErrorCode::NotFound, sentence).on(&*params.target))
                }
            }
        };
        self.edit(unmap, None)?;
        let name = params.target.to_ascii_lowercase();
        self.target_info(&name).ok_or_else(|| absent("target", &name))
    }
}

fn position(raw: &RawConfig, name: &str) -> Option<usize> {
    raw.targets.iter().position(|t| t.name.get_ref().eq_ignore_ascii_case(name))
}

fn find<'a>(raw: &'a mut RawConfig, name: &str) -> Result<&'a mut RawTarget, RpcError> {
    let place = position(raw, name);
    place.and_then(|p| raw.targets.get_mut(p)).ok_or_else(|| absent("target", name))
}

fn lowest_free_lun(target: &RawTarget) -> Result<u16, RpcError> {
    let taken = |lun: &u16| target.luns.contains_key(&unplaced(lun.to_string()));
    let most = u16::try_from(limits::LUNS_PER_TARGET_MAX).unwrap_or(u16::MAX);
    (0..most).find(|lun| !taken(lun)).ok_or_else(|| {
        let name = target.name.get_ref();
        let sentence = format!("target {name} has {most} logical units, which is the most");
        RpcError::new(ErrorCode::TooMany, sentence).on(name)
    })
}

fn exists(what: &str, name: &str) -> RpcError {
    let sentence = format!("there is a {what} {name}; names are unique");
    RpcError::new(ErrorCode::AlreadyExists, sentence).on(name)
}

fn absent(what: &str, name: &str) -> RpcError {
    RpcError::new(ErrorCode::NotFound, format!("there is no {what} {name}"))
        .on(name)
        .hint(format!("perfctl {what} list shows those that there are."))
}
