//! Changes that perfctl makes: each edits the node's own catalog and brings it into force, so
//! that what runs is always what the next start would serve.

use super::change::Edit;
use crate::config::{RawConfig, RawLun, RawLunTable, RawTarget, RawVolume, unplaced};
use control_api::{ErrorCode, LunMap, LunUnmap, RpcError, TargetCreate, VolumeCreate};
use units::{len_u16, limits};

impl Edit {
    /// Changes a configuration.
    ///
    /// # Errors
    /// Why it cannot be so.
    pub(super) fn change(self, raw: &mut RawConfig) -> Result<(), RpcError> {
        match self {
            Self::LunMap(params) => lun_map(raw, params),
            Self::LunUnmap(params) => lun_unmap(raw, &params),
            Self::TargetCreate(params) => target_create(raw, params),
            Self::TargetDelete(params) => {
                let place = position(raw, &params.name);
                raw.targets.remove(place.ok_or_else(|| absent("target", &params.name))?);
                Ok(())
            }
            Self::VolumeCreate(params) => volume_create(raw, params),
            Self::VolumeDelete(params) => {
                raw.volumes.retain(|v| *v.name.get_ref() != params.name);
                Ok(())
            }
        }
    }
}

fn volume_create(raw: &mut RawConfig, params: VolumeCreate) -> Result<(), RpcError> {
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
}

fn target_create(raw: &mut RawConfig, params: TargetCreate) -> Result<(), RpcError> {
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
}

fn lun_map(raw: &mut RawConfig, params: LunMap) -> Result<(), RpcError> {
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
        let sentence = format!("target {} already has a LUN {lun}", params.target);
        return Err(RpcError::new(ErrorCode::AlreadyExists, sentence).on(params.target));
    }
    let entry = if params.read_only {
        RawLun::Table(RawLunTable { volume: params.volume, read_only: true })
    } else {
        RawLun::Volume(params.volume)
    };
    target.luns.insert(key, unplaced(entry));
    Ok(())
}

fn lun_unmap(raw: &mut RawConfig, params: &LunUnmap) -> Result<(), RpcError> {
    let target = find(raw, &params.target)?;
    match target.luns.remove(&unplaced(params.lun.to_string())) {
        Some(_) => Ok(()),
        None => {
            let sentence = format!("target {} has no LUN {}", params.target, params.lun);
            Err(RpcError::new(ErrorCode::NotFound, sentence).on(&*params.target))
        }
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
    let most = len_u16(limits::LUNS_PER_TARGET_MAX);
    (0..most).find(|lun| !taken(lun)).ok_or_else(|| {
        let name = target.name.get_ref();
        let sentence = format!("target {name} already has {most} LUNs, the maximum");
        RpcError::new(ErrorCode::TooMany, sentence).on(name)
    })
}

fn exists(what: &str, name: &str) -> RpcError {
    let sentence = format!("{what} {name:?} already exists");
    RpcError::new(ErrorCode::AlreadyExists, sentence).on(name)
}

pub(super) fn absent(what: &str, name: &str) -> RpcError {
    RpcError::new(ErrorCode::NotFound, format!("{what} {name:?} does not exist"))
        .on(name)
        .hint(format!("Run \"perfctl {what} list\" to see the existing {what}s."))
}
