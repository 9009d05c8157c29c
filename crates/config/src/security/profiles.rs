//! TLS: `SecureCommunicationServerProfile` and `SecureCommunicationClientProfile`.

use super::read::flag;
use super::words::Word;
use super::{ClientProfile, ServerProfile};
use crate::refused::{Refused, Wrong};
use crate::value::{Fields, Value};

pub(super) fn server(value: &Value<'_>) -> Result<ServerProfile, Refused> {
    const KEYS: &[&str] =
        &["name", "certificateFile", "keyFile", "trustFile", "requireClientAuthentication", "minimumVersion"];
    let mut fields = value.object("`SecureCommunicationServerProfile`", KEYS)?;
    let profile = ServerProfile {
        name: Word::Realm.read(&fields.need("name")?)?,
        certificate_file: Word::Path.read(&fields.need("certificateFile")?)?,
        key_file: Word::Path.read(&fields.need("keyFile")?)?,
        trust_file: path(&mut fields, "trustFile")?,
        require_client: flag(&mut fields, "requireClientAuthentication")?,
        allow_tls12: allows_tls12(&mut fields)?,
    };
    if profile.require_client && profile.trust_file.is_none() {
        return Err(value.refuse(Wrong::Against {
            why: "certificates of clients are required, and nobody is named who vouches for them",
            next: "add `trustFile = …`",
        }));
    }
    Ok(profile)
}

pub(super) fn client(value: &Value<'_>) -> Result<ClientProfile, Refused> {
    const KEYS: &[&str] = &["name", "trustFile", "certificateFile", "keyFile", "minimumVersion"];
    let mut fields = value.object("`SecureCommunicationClientProfile`", KEYS)?;
    let profile = ClientProfile {
        name: Word::Realm.read(&fields.need("name")?)?,
        trust_file: path(&mut fields, "trustFile")?,
        certificate_file: path(&mut fields, "certificateFile")?,
        key_file: path(&mut fields, "keyFile")?,
        allow_tls12: allows_tls12(&mut fields)?,
    };
    if profile.certificate_file.is_some() != profile.key_file.is_some() {
        return Err(value.refuse(Wrong::Against {
            why: "one of `certificateFile` and `keyFile` is there without the other",
            next: "give both, or neither to show no certificate",
        }));
    }
    Ok(profile)
}

fn path(fields: &mut Fields<'_>, key: &str) -> Result<Option<String>, Refused> {
    fields.take(key).map(|value| Word::Path.read(&value)).transpose()
}

/// `minimumVersion`: 1.3 where it is not given.
fn allows_tls12(fields: &mut Fields<'_>) -> Result<bool, Refused> {
    let Some(value) = fields.take("minimumVersion") else { return Ok(false) };
    match value.amount("\"1.2\" or \"1.3\"")? {
        "1.2" => Ok(true),
        "1.3" => Ok(false),
        word => {
            Err(value.refuse(Wrong::Word { what: "version of TLS", word: word.to_owned(), known: vec!["1.2", "1.3"] }))
        }
    }
}
