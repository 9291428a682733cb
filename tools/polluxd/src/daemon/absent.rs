//! Names that nothing has: what the caller may have meant.

use control_api::{ErrorCode, RpcError};
use strsim::osa_distance;
use units::limits::ISCSI_NAME_BYTES_MAX;

/// How many names are suggested.
const SUGGESTED_MAX: usize = 3;

/// Typing errors in a name beyond which it is another name.
const ERRORS_MAX: usize = 3;

/// A part of a name is a suggestion only from this length on: short ones are in every name.
const PART_BYTES_MIN: usize = 3;

/// The error of a call that names a volume or a target which does not exist.
pub(super) fn absent<'a>(
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> RpcError {
    let near: Vec<_> = near(name, known).iter().map(|near| format!("{near:?}")).collect();
    let meant = match near.split_last() {
        None => String::new(),
        Some((last, [])) => format!("Did you mean {last}? "),
        Some((last, rest)) => format!("Did you mean {} or {last}? ", rest.join(", ")),
    };
    RpcError::new(ErrorCode::NotFound, format!("{what} {name:?} does not exist"))
        .on(name)
        .hint(format!("{meant}Run \"perfctl {what} list\" to see the existing {what}s."))
}

/// The names that are most like this one, the nearest first.
fn near<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    if name.len() > ISCSI_NAME_BYTES_MAX {
        // No name is that long, and the time to compare grows with its length.
        return Vec::new();
    }
    let lower = name.to_lowercase();
    // A third of the letters: with more, any short name is near any other.
    let errors_max = (lower.chars().count() / 3).min(ERRORS_MAX);
    let distance = |other: &str| {
        let other = other.to_lowercase();
        let is_part =
            |part: &str, whole: &str| part.len() >= PART_BYTES_MIN && whole.contains(part);
        let errors = osa_distance(&lower, &other);
        if errors <= errors_max {
            Some(errors)
        } else {
            (is_part(&lower, &other) || is_part(&other, &lower)).then_some(ERRORS_MAX + 1)
        }
    };
    let mut near: Vec<_> =
        known.into_iter().filter_map(|other| Some((distance(other)?, other))).collect();
    near.sort_unstable();
    near.into_iter().take(SUGGESTED_MAX).map(|(_, other)| other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = ["demo", "vm-01", "vm-02", "vm-03", "database"];

    #[test]
    fn a_typing_error_suggests_the_names_that_are_near() {
        assert_eq!(near("dmeo", KNOWN), ["demo"]);
        assert_eq!(near("Demo", KNOWN), ["demo"]);
        assert_eq!(near("vm-10", KNOWN), ["vm-01"]);
        assert_eq!(near("vm-04", KNOWN), ["vm-01", "vm-02", "vm-03"]);
        assert_eq!(near("data", KNOWN), ["database"]);
        assert_eq!(near("databaze", KNOWN), ["database"]);
    }

    #[test]
    fn another_name_suggests_nothing() {
        assert_eq!(near("mail", KNOWN), [""; 0]);
        assert_eq!(near("x", ["a"]), [""; 0]);
        assert_eq!(near("", KNOWN), [""; 0]);
    }

    #[test]
    fn the_error_names_what_may_have_been_meant_and_where_to_look() {
        let hint = |name| absent("volume", name, KNOWN).data.hint.unwrap();
        assert_eq!(
            hint("dmeo"),
            "Did you mean \"demo\"? Run \"perfctl volume list\" to see the existing volumes."
        );
        assert!(hint("vm-04").starts_with("Did you mean \"vm-01\", \"vm-02\" or \"vm-03\"? Run "));
        assert!(hint("mail").starts_with("Run "));
    }
}
