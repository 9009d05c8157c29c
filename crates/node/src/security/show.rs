//! What commands answer: rows about what is in force.

use stockade_config::security::{HostForm, Object, Root, Secrets, diff as differences, export as text_of};
use stockade_identity::hosts::Peer;
use stockade_identity::privilege::{Effect, Privilege};
use stockade_store::{ObjectId, Principal};

use super::force::InForce;
use super::objects::{Which, choose};
use super::{Caller, Security, commands, force, now_s};
use crate::admin::table::Table;
use crate::refusal::{Kind, Refusal};
use crate::service::Node;
use crate::tls::Names;

/// A time as people and programs read it.
pub(super) fn time(ms: i64) -> String {
    stockade_core::text::utc(u64::try_from(ms / 1_000).unwrap_or_default())
}

/// The node.
pub(super) fn node(node: &Node) -> Table {
    let load = node.load();
    let state = if node.is_draining() { "draining" } else { "running" };
    let [addresses, certificate] = reached_as(node.security.names());
    Table::of([
        ("Service Name", node.security.service().to_owned()),
        ("State", state.to_owned()),
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
        ("Runs Running", load.running.to_string()),
        ("Runs Waiting", load.waiting.to_string()),
        ("Sessions", load.sessions.to_string()),
        ("Addresses", addresses),
        ("Certificate SHA-256", certificate),
        (LEGACY, node.security.in_force().has_legacy_host_trust().to_string()),
    ])
}

/// The ports at which the node is administered over TLS; none where it is not.
pub(super) fn ports(names: Option<&Names>) -> Table {
    let mut table = Table::new(&["Administration Port"]);
    let mut ports: Vec<u16> =
        names.into_iter().flat_map(|names| &names.addresses).map(std::net::SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports.iter().for_each(|port| table.push([port.to_string()]));
    table
}

/// What the node is reached as over TLS.
pub(super) fn certificate(names: &Names) -> Table {
    let [addresses, certificate] = reached_as(Some(names));
    Table::of([("Addresses", addresses), ("Certificate SHA-256", certificate)])
}

fn reached_as(names: Option<&Names>) -> [String; 2] {
    let Some(names) = names else { return ["none", "none"].map(str::to_owned) };
    let addresses: Vec<_> = names.addresses.iter().map(ToString::to_string).collect();
    [addresses.join(","), names.fingerprint().unwrap_or_else(|| "none".to_owned())]
}

/// The objects that are loaded.
pub(super) async fn objects(security: &Security, kind: Option<&str>, name: Option<&str>) -> Result<Table, Refusal> {
    let kind = commands::kind_of(kind)?;
    let mut table = Table::new(&["Type", "Name", "Version", "State", "Loaded", "Activated"]);
    let kept = security.kept().await?;
    let wanted = kept
        .iter()
        .filter(|one| kind.is_none_or(|kind| one.id.kind == kind) && name.is_none_or(|name| one.id.name == name));
    for one in wanted {
        let ObjectId { kind, name, version } = one.id.clone();
        let activated = one.activated_ms.map_or_else(String::new, time);
        table.push([kind, name, version, one.state().to_owned(), time(one.loaded_ms), activated]);
    }
    table.notes.extend(security.trial_note().await?);
    Ok(table)
}

/// An object and what became of it.
pub(super) fn identity(id: &ObjectId, state: &str) -> Table {
    let ObjectId { kind, name, version } = id.clone();
    Table::of([("Type", kind), ("Name", name), ("Version", version), ("State", state.to_owned())])
}

/// An object that was loaded, and what whoever loads it should know.
pub(super) fn loaded(object: &Object) -> Table {
    let notes = object.notes.iter().map(|noted| format!("{noted}; {}", noted.note.next())).collect();
    Table { notes, ..identity(&super::force::id_of(object), "Inactive") }
}

/// The text of an object.
pub(super) async fn export(security: &Security, which: Which<'_>) -> Result<Table, Refusal> {
    let kept = security.kept().await?;
    let chosen = choose(&kept, which, |one| one.active)?;
    Ok(Table::of([("Text", text_of(chosen.understood()?, Secrets::Hashed))]))
}

/// What differs between two versions of an object.
pub(super) async fn diff(security: &Security, which: Which<'_>, with: Option<&str>) -> Result<Table, Refusal> {
    let kept = security.kept().await?;
    let after = choose(&kept, which, |one| !one.active)?;
    let before = choose(&kept, Which { version: with, ..which }, |one| one.active && one.id != after.id)?;
    let mut table = Table::new(&["Key", "Before", "After"]);
    for change in differences(before.understood()?, after.understood()?) {
        table.push([change.path, change.before.unwrap_or_default(), change.after.unwrap_or_default()]);
    }
    Ok(table)
}

/// What was done to objects.
pub(super) async fn history(security: &Security, most: u32) -> Result<Table, Refusal> {
    let mut table = Table::new(&["Time", "Principal", "Transition", "Type", "Name", "Version", "Digest"]);
    for past in security.keeper.with(move |store| store.history(most)).await? {
        let ObjectId { kind, name, version } = past.id;
        table.push([time(past.time_ms), past.principal, past.transition, kind, name, version, past.digest]);
    }
    Ok(table)
}

const USER: [&str; 7] =
    ["Realm", "User Name", "Roles", "Locked", "Has Password", "Password Expiration Days", "Password Expires"];
const DAY_MS: i64 = 86_400_000;

/// Who is in the local realms that are in force.
pub(super) fn users(security: &Security, user: Option<&str>, realm: Option<&str>) -> Table {
    let mut table = Table::new(&USER);
    let in_force = security.in_force();
    for one in in_force.people() {
        if user.is_none_or(|user| user == one.user) && realm.is_none_or(|realm| realm == one.realm) {
            table.push([
                one.realm.clone(),
                one.user.clone(),
                one.roles.join(","),
                one.locked.to_string(),
                one.password.is_some().to_string(),
                one.password_days.to_string(),
                expires(one),
            ]);
        }
    }
    table
}

/// From when on nobody gets in by the password.
fn expires(one: &Principal) -> String {
    match (&one.password, one.password_days) {
        (None, _) | (_, 0) => "never".to_owned(),
        (Some(_), days) => time(one.password_ms.saturating_add(i64::from(days).saturating_mul(DAY_MS))),
    }
}

/// A user who is no more.
pub(super) fn user_named(user: &str, state: &str) -> Table {
    Table::of([("User Name", user.to_owned()), ("State", state.to_owned())])
}

/// Trusted hosts: the node's own addresses, then those of objects.
pub(super) fn hosts(security: &Security) -> Table {
    let mut table = Table::new(&["Network Address", "Host Name", "Source"]);
    for (address, name) in &security.terms.addresses {
        table.push([address.to_string(), name.clone(), "default".to_owned()]);
    }
    let in_force = security.in_force();
    let is_name = |object: &str, entry: &str| {
        let hosts = force::hosts(in_force.objects.iter());
        let mut entries = hosts.iter().filter(|(name, _)| *name == object).flat_map(|(_, hosts)| &hosts.hosts);
        entries.any(|host| host.written == entry && matches!(host.form, HostForm::Name(_) | HostForm::Below(_)))
    };
    for (entry, object, addresses) in in_force.hosts.list() {
        if is_name(&object, &entry) {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            table.push([addresses.join(","), entry, object]);
        } else {
            table.push([entry, String::new(), object]);
        }
    }
    table
}

/// Whether an address is trusted, and why.
pub(super) async fn trust(security: &Security, address: &str) -> Result<Table, Refusal> {
    let (number, zone) = address.split_once('%').map_or((address, None), |(number, zone)| (number, Some(zone)));
    let parsed: std::net::IpAddr = number.parse().map_err(|_| {
        let what = format!("`{}` is no address", stockade_core::text::shown(address, 100));
        Refusal::invalid(
            what,
            "hosts are trusted by their addresses, never by a name that they say",
            "write one such as 192.168.2.17",
        )
    })?;
    let verdict = security.hosts().test(&Peer::at(parsed, zone), security.now_ms()).await;
    let looked_up: Vec<_> = verdict.looked_up.iter().map(|one| format!("{} -> {}", one.asked, one.answer)).collect();
    Ok(Table::of([
        ("Network Address", address.to_owned()),
        ("Trusted", verdict.is_trusted.to_string()),
        ("Entry", verdict.entry.unwrap_or_default()),
        ("Source", verdict.object.unwrap_or_default()),
        ("Looked Up", looked_up.join("; ")),
    ]))
}

const LEGACY: &str = "Legacy Host Trust";

/// What decides who gets in, of one kind or in short. Whatever is asked for, it says whether a host can stand for a
/// password.
pub(super) fn access(security: &Security, caller: &Caller, kind: Option<&str>) -> Table {
    let has_legacy = security.in_force().has_legacy_host_trust();
    let mut table = match kind {
        Some("hosts") => hosts(security),
        Some("accesscontrol") => roles(caller, None),
        Some(_) => realms(security),
        None => Table::of([(LEGACY, has_legacy.to_string()), administration_cell(security)]),
    };
    table.notes.push(if has_legacy {
        "legacyHostTrust = true: from a trusted host no password is asked for where a realm wants none, and every \
         program there can say any user's name; deactivate the object that says so, or activate it with false"
            .to_owned()
    } else {
        "legacyHostTrust = false: a trusted host never stands for a password".to_owned()
    });
    table
}

/// The realms that are in force.
pub(super) fn realms(security: &Security) -> Table {
    let mut table = Table::new(&["Realm", "Type", "Object", "Require Password", "Require Trusted Host", LEGACY]);
    let in_force = security.in_force();
    let has_legacy = in_force.has_legacy_host_trust().to_string();
    for (object, root) in in_force.roots() {
        let (name, kind, admission) = match root {
            Root::Local(realm) => (&realm.name, "local", Some(realm.admission)),
            Root::Ldap(realm) => (&realm.name, "ldap", Some(realm.admission)),
            Root::Oidc(realm) => (&realm.name, "oidc", None),
            Root::TrustedHosts(_) | Root::Mappings(_) | Root::Server(_) | Root::Client(_) | Root::Settings(_) => {
                continue;
            }
        };
        let shown = |which: fn(stockade_config::security::Admission) -> bool| {
            admission.map_or_else(String::new, |one| which(one).to_string())
        };
        table.push([
            name.clone(),
            kind.to_owned(),
            object.identity.name.clone(),
            shown(|one| one.require_password),
            shown(|one| one.require_trusted_host),
            // A host never stands for somebody of elsewhere.
            if kind == "local" { has_legacy.clone() } else { String::new() },
        ]);
    }
    table
}

/// The realm that administrators over the network are of.
pub(super) fn administration(security: &Security) -> Table {
    Table::of([administration_cell(security)])
}

fn administration_cell(security: &Security) -> (&'static str, String) {
    let realm = security.in_force().administration.clone();
    ("Administration Realm", realm.unwrap_or_else(|| "any".to_owned()))
}

/// What roles may do.
pub(super) fn roles(caller: &Caller, only: Option<&str>) -> Table {
    let authoriser = &caller.in_force.authoriser;
    let mut table = Table::new(&["Role", "Effect", "Privilege", "Resource", "Source"]);
    for role in authoriser.roles().into_iter().filter(|role| only.is_none_or(|only| only == *role)) {
        for rule in authoriser.rules_of(role) {
            let effect = match rule.effect {
                Effect::Grant => "grant",
                Effect::Deny => "deny",
            };
            let resource = rule.resource.clone().unwrap_or_else(|| "*".to_owned());
            table.push([role.to_owned(), effect.to_owned(), rule.privilege.to_string(), resource, rule.object.clone()]);
        }
    }
    table
}

/// What there is to be granted.
pub(super) fn privileges() -> Table {
    let mut table = Table::new(&["Privilege"]);
    for privilege in Privilege::ALL {
        table.push([privilege.name().to_owned()]);
    }
    table
}

/// A decision, and the rule that made it; and what keeps the user out before any rule counts.
pub(super) fn explained(
    caller: &Caller,
    (user, roles): (Option<&str>, Option<&str>),
    (privilege, resource): (Privilege, Option<&str>),
) -> Result<Table, Refusal> {
    let in_force = &caller.in_force;
    let (who, roles, state) = match (user, roles) {
        (user, Some(roles)) => {
            let roles = roles.split(',').map(str::trim).filter(|role| !role.is_empty()).map(str::to_owned).collect();
            (user.unwrap_or("whoever holds these roles").to_owned(), roles, "")
        }
        (None, None) => (caller.principal.0.clone(), caller.roles.clone(), ""),
        (Some(user), None) => {
            let one = meant(in_force, user)?;
            (format!("{}@{}", one.user, one.realm), one.roles.clone(), state(one))
        }
    };
    let decision = in_force.authoriser.decide(&who, &roles, privilege, resource);
    let answer = if decision.is_permitted() { "permitted" } else { "denied" };
    let rule = decision.rule().map_or_else(|| "no rule grants it".to_owned(), ToString::to_string);
    Ok(Table::of([
        ("User", who),
        ("Roles", roles.join(",")),
        ("Privilege", privilege.to_string()),
        ("Resource", resource.unwrap_or("*").to_owned()),
        ("Decision", answer.to_owned()),
        ("Rule", rule),
        ("User State", state.to_owned()),
    ]))
}

/// What keeps somebody out whatever he may do.
fn state(one: &Principal) -> &'static str {
    match force::account(one) {
        account if account.is_locked => "locked",
        account if account.is_expired(now_s()) => "password expired",
        _ => "active",
    }
}

/// The one user of local realms who is called so.
fn meant<'a>(in_force: &'a InForce, text: &str) -> Result<&'a Principal, Refusal> {
    let (user, realm) = text.rsplit_once('@').map_or((text, None), |(user, realm)| (user, Some(realm)));
    let people = in_force.people();
    let mut found = people.into_iter().filter(|one| one.user == user && realm.is_none_or(|realm| realm == one.realm));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Refusal::new(
            Kind::Missing,
            format!("there is no user `{}`", stockade_core::text::shown(text, 100)),
            "no local realm in force has one, and what roles others hold is said when they log in",
            "see stockade admin display user, or say by which roles: --roles=ROLE,ROLE",
        )),
        (Some(_), Some(_)) => {
            Err(Refusal::invalid("which user is meant?", "several realms have one of this name", "write NAME@REALM"))
        }
    }
}
