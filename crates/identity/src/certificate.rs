//! The name in a client's certificate.
//!
//! TLS has verified it before this looks at it: that somebody who is believed has signed it, for clients and for this
//! time, and that whoever shows it has its key. What is left is whose it is. By RFC 5280 section 4.2.1.6 names are in
//! the extension `subjectAltName`; where there is none, in the subject's common name. There must be one name and no
//! more: of several, none is better than another.

use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name, as it is written: that of an e-mail address, of a host, or the common name. It may be anything.
    pub name: String,
    /// Until when it is good, in seconds since 1970: a connection may outlive its certificate.
    pub good_until_s: u64,
}

/// Why a certificate is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unnamed {
    /// It is broken, or a part of it that counts is.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// None of its names is one of those that count.
    #[error("the certificate has no name of a user: neither an e-mail address nor a host's name, nor a common name")]
    Nameless,
    /// It has more than one.
    #[error("the certificate has several names of users")]
    Ambiguous,
}

impl Unnamed {
    /// What to do about it: for who looks after the node.
    #[must_use]
    pub const fn next(self) -> &'static str {
        match self {
            Self::Unreadable => "have it made anew",
            Self::Nameless | Self::Ambiguous => {
                "have one made with one name: USER or USER@REALM as a DNS or e-mail name of subjectAltName"
            }
        }
    }
}

/// Reads a certificate (DER) that TLS has verified.
///
/// # Errors
/// [`Unnamed`] when it does not have exactly one name.
pub fn read(der: &[u8]) -> Result<Named, Unnamed> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| Unnamed::Unreadable)?;
    if !rest.is_empty() {
        return Err(Unnamed::Unreadable);
    }
    let name = match certificate.subject_alternative_name().map_err(|_| Unnamed::Unreadable)? {
        Some(names) => only(names.value.general_names.iter().filter_map(of_general))?,
        None => {
            only(certificate.subject().iter_common_name().map(|name| name.as_str().map_err(|_| Unnamed::Unreadable)))?
        }
    };
    let good_until_s = u64::try_from(certificate.validity().not_after.timestamp()).map_err(|_| Unnamed::Unreadable)?;
    Ok(Named { name: name.to_owned(), good_until_s })
}

fn of_general<'a>(name: &'a GeneralName<'a>) -> Option<Result<&'a str, Unnamed>> {
    match name {
        GeneralName::RFC822Name(name) | GeneralName::DNSName(name) => Some(Ok(name)),
        GeneralName::Invalid(..) => Some(Err(Unnamed::Unreadable)),
        GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::URI(_)
        | GeneralName::IPAddress(_)
        | GeneralName::RegisteredID(_) => None,
    }
}

fn only<'a>(mut names: impl Iterator<Item = Result<&'a str, Unnamed>>) -> Result<&'a str, Unnamed> {
    let first = names.next().ok_or(Unnamed::Nameless)??;
    match names.next() {
        None => Ok(first),
        Some(more) => more.and(Err(Unnamed::Ambiguous)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

    use super::*;

    fn certificate(common: &[&str], others: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in common {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.subject_alt_names = others;
        params.not_after = date_time_ymd(2100, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn mail(name: &str) -> SanType {
        SanType::Rfc822Name(name.try_into().unwrap())
    }

    fn host(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    #[test]
    fn a_certificate_is_somebodys_by_its_one_name() {
        let address = || SanType::IpAddress("192.0.2.7".parse().unwrap());
        let uri = || SanType::URI("spiffe://acme/ann".try_into().unwrap());
        let name = |common: &[&str], others| read(&certificate(common, others)).map(|named| named.name);
        assert_eq!(name(&["ann"], vec![]).as_deref(), Ok("ann"));
        assert_eq!(name(&["ann"], vec![mail("bob@acme")]).as_deref(), Ok("bob@acme"));
        assert_eq!(name(&["ann"], vec![host("worker-1")]).as_deref(), Ok("worker-1"));
        assert_eq!(name(&[], vec![address(), uri(), mail("bob@acme")]).as_deref(), Ok("bob@acme"));
        assert_eq!(name(&["ann", "bob"], vec![mail("bob@acme")]).as_deref(), Ok("bob@acme"));
        // As soon as there is the extension, the subject does not count.
        assert_eq!(name(&["ann"], vec![address()]), Err(Unnamed::Nameless));
        assert_eq!(name(&["ann"], vec![uri()]), Err(Unnamed::Nameless));
        assert_eq!(name(&["ann"], vec![mail("ann@acme"), mail("bob@acme")]), Err(Unnamed::Ambiguous));
        assert_eq!(name(&["ann"], vec![host("ann"), mail("ann")]), Err(Unnamed::Ambiguous));
        assert_eq!(name(&[], vec![]), Err(Unnamed::Nameless));
        assert_eq!(read(&certificate(&["ann"], vec![])).unwrap().good_until_s, 4_102_444_800);
    }

    #[test]
    fn several_common_names_are_nobodys() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "ann");
        params.distinguished_name.push(DnType::OrganizationalUnitName, "bob");
        let mut der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        assert_eq!(read(&der).unwrap().name, "ann");
        // The unit becomes a common name: 2.5.4.11 and 2.5.4.3.
        let units: Vec<usize> = (2..der.len()).filter(|&at| der[at - 2..=at] == [0x55, 4, 11]).collect();
        assert!(!units.is_empty());
        units.iter().for_each(|&at| der[at] = 3);
        assert_eq!(read(&der), Err(Unnamed::Ambiguous));
    }

    #[test]
    fn what_something_follows_is_no_certificate() {
        let mut der = certificate(&["ann"], vec![]);
        der.push(0);
        assert_eq!(read(&der), Err(Unnamed::Unreadable));
    }

    proptest! {
        #[test]
        fn whatever_is_in_it_nothing_breaks(at in 0_usize..400, byte: u8, cut in 0_usize..400) {
            let whole = certificate(&["ann"], vec![mail("bob@acme")]);
            let mut der = whole.clone();
            let place = at % der.len();
            der[place] = byte;
            let _any = read(&der);
            prop_assert!(read(&whole[..cut % whole.len()]).is_err());
        }

        #[test]
        fn bytes_that_are_no_certificate_are_refused(bytes: Vec<u8>) {
            prop_assert!(read(&bytes).is_err());
        }
    }
}
