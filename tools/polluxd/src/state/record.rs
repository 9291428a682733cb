//! The persistent record of a volume: identity, size and path.

use super::FileId;
use super::wwid::{hex, unhex};
use control_api::VolumeKind;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use units::BlockSize;
use volume::{Naa, Wwid};

/// A volume's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its name.
    pub(crate) name: String,
    /// Its UUID, for administrators.
    pub(crate) uuid: String,
    /// Its identity to initiators.
    pub(crate) wwid: Wwid,
    /// Its backing store.
    pub(crate) kind: VolumeKind,
    /// The file or device.
    pub(crate) path: PathBuf,
    /// Its size in bytes.
    pub(crate) size_bytes: u64,
    /// Its logical block size.
    pub(crate) block_size: BlockSize,
    /// Which file it is, as far as that is known: earlier versions did not record it, and devices
    /// have none.
    pub(crate) file: Option<FileId>,
}

/// Why a record cannot be used.
#[derive(Debug)]
pub(crate) enum RecordFault {
    /// It is invalid.
    Broken { path: PathBuf, why: String },
    /// It has another format version.
    Format { path: PathBuf, format: u32 },
    /// It cannot be read.
    Unreadable { path: PathBuf, source: io::Error },
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken { path, why } => write!(
                f,
                "invalid record {}: {why}; restore it from a backup, because it holds the \
                 identity of the volume",
                path.display()
            ),
            Self::Format { path, format } => write!(
                f,
                "unsupported record {}: it has format {format}, this version of Pollux supports \
                 {FORMAT}; use the version of Pollux that wrote it",
                path.display()
            ),
            Self::Unreadable { path, source } => {
                write!(f, "cannot read record {}: {source}", path.display())
            }
        }
    }
}

impl std::error::Error for RecordFault {}

/// The version of the format below.
const FORMAT: u32 = 1;

/// A record in its file format.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordText {
    format: u32,
    name: String,
    uuid: String,
    naa: String,
    serial: String,
    kind: VolumeKind,
    path: String,
    size_bytes: u64,
    block_size: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl Record {
    pub(super) fn load(path: &Path) -> Result<Option<Self>, RecordFault> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(RecordFault::Unreadable { path: path.to_owned(), source }),
        };
        let broken = |why| RecordFault::Broken { path: path.to_owned(), why };
        #[derive(Deserialize)]
        struct FormatOnly {
            format: u32,
        }
        let format = toml::from_str::<FormatOnly>(&text).map_err(|e| broken(words(&e)))?.format;
        if format != FORMAT {
            return Err(RecordFault::Format { path: path.to_owned(), format });
        }
        let raw: RecordText = toml::from_str(&text).map_err(|e| broken(words(&e)))?;
        let record = raw.check().map_err(|why| broken(why.to_owned()))?;
        // A copied record would give two volumes one identity.
        if path.file_stem() != Some(OsStr::new(&record.name)) {
            return Err(broken(format!("it is the record of volume {}", record.name)));
        }
        Ok(Some(record))
    }

    /// The record as text.
    ///
    /// # Errors
    /// Its path is not UTF-8, as TOML requires.
    pub(super) fn to_text(&self) -> io::Result<String> {
        let invalid = |words: String| io::Error::new(io::ErrorKind::InvalidInput, words);
        let path =
            self.path.to_str().ok_or_else(|| invalid("the path is not valid UTF-8".into()))?;
        toml::to_string(&RecordText {
            format: FORMAT,
            name: self.name.clone(),
            uuid: self.uuid.clone(),
            naa: hex(self.wwid.naa.bytes()),
            serial: self.wwid.serial.clone(),
            kind: self.kind,
            path: path.to_owned(),
            size_bytes: self.size_bytes,
            block_size: self.block_size.bytes(),
            file: self.file.map(|file| file.to_string()),
        })
        .map_err(|e| invalid(e.to_string()))
    }
}

impl RecordText {
    fn check(self) -> Result<Record, &'static str> {
        let naa = match self.naa.as_bytes().first() {
            Some(b'3') => unhex(&self.naa).map(Naa::LocallyAssigned),
            Some(b'6') => unhex(&self.naa).map(Naa::RegisteredExtended),
            Some(_) | None => None,
        };
        let naa = naa.ok_or("naa is not an NAA 3 or NAA 6 designator")?;
        let serial_fits = (1..=64).contains(&self.serial.len());
        if !serial_fits || !self.serial.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("serial is not 1 to 64 printable characters");
        }
        let block_size =
            BlockSize::from_bytes(self.block_size).ok_or("block_size is not 512 or 4096")?;
        if block_size.blocks_in(self.size_bytes).0 == 0 {
            return Err("size_bytes is less than one block");
        }
        let file = self.file.map(|text| text.parse()).transpose();
        Ok(Record {
            file: file.map_err(|()| "file is not a device and an inode")?,
            name: self.name,
            uuid: self.uuid,
            wwid: Wwid { naa, serial: self.serial },
            kind: self.kind,
            path: PathBuf::from(self.path),
            size_bytes: self.size_bytes,
            block_size,
        })
    }
}

fn words(error: &toml::de::Error) -> String {
    error.message().trim_end().replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"format = 1
name = "demo"
uuid = "ffffffff-ffff-4fff-bfff-ffffffffffff"
naa = "30f1f2f3f4f5f6f7"
serial = "0123456789abcdef"
kind = "file"
path = "/state/volumes/demo.img"
size_bytes = 1073741824
block_size = 512
"#;

    fn record() -> Record {
        Record {
            name: "demo".into(),
            uuid: "ffffffff-ffff-4fff-bfff-ffffffffffff".into(),
            wwid: Wwid {
                naa: Naa::LocallyAssigned([0x30, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7]),
                serial: "0123456789abcdef".into(),
            },
            kind: VolumeKind::File,
            path: "/state/volumes/demo.img".into(),
            size_bytes: 1 << 30,
            block_size: BlockSize::B512,
            file: None,
        }
    }

    fn load(text: &str) -> Result<Option<Record>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("demo.toml");
        std::fs::write(&path, text).unwrap();
        let shown = path.display().to_string();
        Record::load(&path).map_err(|e| e.to_string().replace(&shown, "demo.toml"))
    }

    #[test]
    fn a_record_is_written_and_read_as_its_text() {
        assert_eq!(record().to_text().unwrap(), TEXT);
        assert_eq!(load(TEXT), Ok(Some(record())));
    }

    #[test]
    fn a_missing_record_is_not_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Record::load(&dir.path().join("demo.toml")).unwrap().is_none());
    }

    #[test]
    fn the_file_is_recorded_where_it_is_known() {
        let known = Record { file: Some(FileId { device: 0x801, inode: u64::MAX }), ..record() };
        let text = format!("{TEXT}file = \"801:ffffffffffffffff\"\n");
        assert_eq!(known.to_text().unwrap(), text);
        assert_eq!(load(&text), Ok(Some(known)));
        assert_eq!(
            load(&text.replace("801:", "801")).unwrap_err(),
            "invalid record demo.toml: file is not a device and an inode; restore it from a \
             backup, because it holds the identity of the volume"
        );
    }

    /// Two volumes had one identity, so that a host took them for two paths to one disk.
    #[test]
    fn the_record_of_another_volume_is_rejected() {
        assert_eq!(
            load(&TEXT.replace("name = \"demo\"", "name = \"a\"")).unwrap_err(),
            "invalid record demo.toml: it is the record of volume a; restore it from a backup, \
             because it holds the identity of the volume"
        );
    }

    #[test]
    fn a_record_of_another_format_names_both() {
        assert_eq!(
            load(&TEXT.replace("format = 1", "format = 2")).unwrap_err(),
            "unsupported record demo.toml: it has format 2, this version of Pollux supports 1; \
             use the version of Pollux that wrote it"
        );
    }

    #[test]
    fn every_truncated_record_is_rejected() {
        // The last line is whole from its third digit on.
        for cut in 0..TEXT.len() - 4 {
            let text = TEXT.get(..cut).unwrap();
            assert!(load(text).is_err(), "{text}");
        }
    }

    #[test]
    fn invalid_values_are_rejected() {
        for (from, to) in [
            ("naa = \"3", "naa = \"5"),
            ("serial = \"0123456789abcdef\"", "serial = \"\""),
            ("block_size = 512", "block_size = 500"),
            ("size_bytes = 1073741824", "size_bytes = 100"),
        ] {
            let error = load(&TEXT.replace(from, to)).unwrap_err();
            assert!(error.starts_with("invalid record demo.toml: "), "{error}");
        }
    }
}
