//! Changes that perfctl makes: each edits the node's own catalog and brings it into force, so
//! that what runs is always what the next start would serve.

use super::absent::absent;
use super::change::Edit;
use super::secrets::NewSecrets;
use crate::config::{
    RawConfig, RawCredential, RawLun, RawLunTable, RawTarget, RawVolume, check_secret, unplaced,
};
use control_api::{
    Change, Credential, ErrorCode, LunMap, LunUnmap, RpcError, TargetCreate, TargetSet,
    VolumeCreate,
};
use units::{len_u16, limits};

impl Edit {
    /// Changes a configuration. Secrets that it brings go to `secrets`.
    ///
    /// # Errors
    /// Why it cannot be so.
    pub(super) fn change(
        self,
        raw: &mut RawConfig,
        secrets: &mut NewSecrets,
    ) -> Result<(), RpcError> {
        match self {
            Self::LunMap(params) => lun_map(raw, params),
            Self::LunUnmap(params) => lun_unmap(raw, &params),
            Self::TargetCreate(params) => target_create(raw, params),
            Self::TargetDelete(params) => {
                let place = position(raw, &params.name);
                raw.targets.remove(place.ok_or_else(|| absent_target(raw, &params.name))?);
                Ok(())
            }
            Self::TargetSet(params) => target_set(raw, params, secrets),
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

fn target_set(
    raw: &mut RawConfig,
    params: TargetSet,
    secrets: &mut NewSecrets,
) -> Result<(), RpcError> {
    let target = find(raw, &params.name)?;
    match params.alias {
        Some(Change::Set(alias)) => target.alias = Some(unplaced(alias)),
        Some(Change::Remove) => target.alias = None,
        None => {}
    }
    match params.initiators {
        Some(Change::Set(names)) => {
            target.initiators = Some(unplaced(names.into_iter().map(unplaced).collect()));
        }
        Some(Change::Remove) => target.initiators = None,
        None => {}
    }
    match params.chap {
        Some(Change::Set(chap)) => {
            let name = target.name.get_ref().to_ascii_lowercase();
            target.chap = Some(credential(&name, "chap", target.chap.take(), chap, secrets)?);
        }
        Some(Change::Remove) => (target.chap, target.mutual_chap) = (None, None),
        None => {}
    }
    match params.mutual_chap {
        Some(Change::Set(chap)) => {
            let name = target.name.get_ref().to_ascii_lowercase();
            let before = target.mutual_chap.take();
            target.mutual_chap = Some(credential(&name, "mutual_chap", before, chap, secrets)?);
        }
        Some(Change::Remove) => target.mutual_chap = None,
        None => {}
    }
    Ok(())
}

/// A CHAP name with its secret, which goes to a file of its own.
fn credential(
    target: &str,
    key: &str,
    before: Option<RawCredential>,
    new: Credential,
    secrets: &mut NewSecrets,
) -> Result<RawCredential, RpcError> {
    let invalid = |sentence: String| RpcError::new(ErrorCode::InvalidParams, sentence).on(target);
    let Some(name) = new.name.map(unplaced).or_else(|| before.map(|before| before.name)) else {
        let sentence = format!("target {target} has no {key}, so a new one needs a name");
        return Err(invalid(sentence));
    };
    check_secret(new.secret.bytes())
        .map_err(|fault| invalid(format!("target {target}: {key}: {fault}")))?;
    let secret_file = unplaced(secrets.add(target, key, new.secret)?);
    Ok(RawCredential { name, secret_file })
}

fn lun_map(raw: &mut RawConfig, params: LunMap) -> Result<(), RpcError> {
    if !raw.volumes.iter().any(|v| *v.name.get_ref() == params.volume) {
        let volumes = raw.volumes.iter().map(|v| v.name.get_ref().as_str());
        return Err(absent("volume", &params.volume, volumes));
    }
    let target = find(raw, &params.target)?;
    // A second LUN of the same volume is a mistake: hosts take the two for paths to one disk.
    let mut mapped = target.luns.iter().filter(|(_, lun)| *volume_of(lun) == params.volume);
    if let Some((lun, _)) = mapped.next() {
        let sentence = format!(
            "volume {} is already LUN {} of target {}",
            params.volume,
            lun.get_ref(),
            params.target
        );
        let hint = format!(
            "To change the LUN, run \"perfctl target unmap {} {}\" first.",
            params.target,
            lun.get_ref()
        );
        return Err(RpcError::new(ErrorCode::AlreadyExists, sentence).on(params.volume).hint(hint));
    }
    let lun = match params.lun {
        Some(lun) => lun,
        None => lowest_free_lun(target)?,
    };
    let key = unplaced(lun.to_string());
    if let Some(taken) = target.luns.get(&key) {
        let volume = volume_of(taken);
        let sentence = format!("LUN {lun} of target {} is taken by volume {volume}", params.target);
        return Err(RpcError::new(ErrorCode::AlreadyExists, sentence)
            .on(params.target)
            .hint("Use another LUN, or omit --lun to use the lowest unused one."));
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

fn volume_of(lun: &toml::Spanned<RawLun>) -> &String {
    match lun.get_ref() {
        RawLun::Volume(volume) | RawLun::Table(RawLunTable { volume, .. }) => volume,
    }
}

fn position(raw: &RawConfig, name: &str) -> Option<usize> {
    raw.targets.iter().position(|t| t.name.get_ref().eq_ignore_ascii_case(name))
}

fn find<'a>(raw: &'a mut RawConfig, name: &str) -> Result<&'a mut RawTarget, RpcError> {
    match position(raw, name) {
        Some(place) => Ok(&mut raw.targets[place]),
        None => Err(absent_target(raw, name)),
    }
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

fn absent_target(raw: &RawConfig, name: &str) -> RpcError {
    absent("target", name, raw.targets.iter().map(|t| t.name.get_ref().as_str()))
}
