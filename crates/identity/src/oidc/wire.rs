//! What comes from a provider or a stranger, as it is written: nothing in here has been looked at.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use zeroize::Zeroizing;

/// The header of a token. Keys and addresses that it may bring along are never read.
#[derive(Debug, Deserialize)]
pub(super) struct Head {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    pub(super) typ: Option<String>,
    pub(super) crit: Option<IgnoredAny>,
    pub(super) b64: Option<IgnoredAny>,
}

/// The discovery document, as far as we need it.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    pub(super) issuer: String,
    pub(super) jwks_uri: String,
    pub(super) authorization_endpoint: Option<String>,
    pub(super) token_endpoint: Option<String>,
    pub(super) device_authorization_endpoint: Option<String>,
    pub(super) token_endpoint_auth_methods_supported: Option<Vec<String>>,
    pub(super) scopes_supported: Option<Vec<String>>,
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

/// Keys, each of any form: those that we cannot use are no reason to refuse the others.
#[derive(Debug, Deserialize)]
pub(super) struct Keys {
    pub(super) keys: Vec<Value>,
}

/// The beginning of a device's log-in (RFC 8628, 3.2).
#[derive(Deserialize)]
pub(super) struct Device {
    pub(super) device_code: Zeroizing<String>,
    pub(super) user_code: String,
    pub(super) verification_uri: String,
    pub(super) verification_uri_complete: Option<String>,
    pub(super) expires_in: u64,
    pub(super) interval: Option<u64>,
}

/// A yes of the token endpoint. The access token is not kept.
#[derive(Deserialize)]
pub(super) struct Tokens {
    pub(super) id_token: Zeroizing<String>,
}

/// A no of the token endpoint.
#[derive(Debug, Deserialize)]
pub(super) struct No {
    pub(super) error: String,
}
