//! A CHAP secret on its way to the daemon.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::fmt;

/// A secret. What prints a call for a log or an error does not print it.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// A secret of this text.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// Its bytes, for whoever keeps or checks it.
    pub const fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

// By hand, because serde's error for a value of another type has the value in it.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Array(_)
            | Value::Bool(_)
            | Value::Null
            | Value::Number(_)
            | Value::Object(_) => Err(D::Error::custom("the secret is not a string")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Call, Change, Credential, TargetSet};
    use serde_json::json;

    #[test]
    fn a_secret_is_sent_but_neither_printed_nor_quoted_in_an_error() {
        let secret = Secret::new("correct horse battery".into());
        let credential = Credential { name: Some("alice".into()), secret };
        let call = Call::TargetSet(TargetSet {
            chap: Some(Change::Set(credential)),
            ..TargetSet::new("iqn.2026-11.a")
        });
        assert!(!format!("{call:?}").contains("horse"));
        let params = call.params().unwrap();
        assert_eq!(params["chap"]["set"]["secret"], "correct horse battery");
        assert_eq!(Call::from_parts("target.set", params).unwrap(), call);
        let number = json!({"name": "a", "chap": {"set": {"secret": 123_456_789_012_u64}}});
        let error = Call::from_parts("target.set", number).unwrap_err().to_string();
        assert_eq!(error, "invalid parameters of target.set: the secret is not a string");
    }
}
