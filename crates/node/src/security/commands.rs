//! What `stockade admin` asks for, done: the privilege first, then the intent on record, then the command, then its
//! outcome on record.

use std::collections::BTreeMap;
use std::sync::Arc;

use stockade_config::security::Substitutions;
use stockade_core::audit::Phase;
use stockade_identity::privilege::Privilege;
use stockade_store::{Change, Kind as Of, NewPrincipal};

use super::given::check;
use super::objects::{Which, kind, parse};
use super::trail::Recording;
use super::trial::within_ms;
use super::{Caller, Denied, Security, audit, show, work};
use crate::admin::commands::{Command, find};
use crate::admin::parameters::need;
use crate::admin::table::Table;
use crate::refusal::{Kind, Refusal};
use crate::service::Node;

/// How many there are of what is listed, where nobody says how many.
const USUAL_MOST: u32 = 100;
const MOST: u32 = 10_000;
/// The target that takes no privilege.
const OPEN: &str = "services";
/// The target that shows the trail.
const AUDIT: &str = "audit";
/// What `PUT /v1/admin/log` is on record as.
static CHANGE_LOG: Command = Command {
    target: "log",
    command: "change",
    about: "Change how much of what is logged",
    parameters: &[need("levels", "how much of what")],
};

/// The parameters of a command, by name.
pub(crate) type Values = BTreeMap<String, String>;

/// Does a command for a caller, if it is meant for this node.
///
/// # Errors
/// [`Refusal`] when it is denied, cannot be put on record, or fails.
pub(crate) async fn run(
    node: &Arc<Node>,
    caller: &Caller,
    (target, name): (&str, &str),
    meant: Option<&str>,
    values: Values,
) -> Result<Table, Refusal> {
    let command = find(target, name).ok_or_else(|| {
        Refusal::new(
            Kind::Missing,
            "there is no such command",
            "the node has none of this name",
            "see stockade admin help",
        )
    })?;
    node.security.check_meant(meant)?;
    if command.target == OPEN {
        // What a node is found by; whoever reaches it may know it, so there is nothing to put on record.
        return Ok(work::services(node));
    }
    let call = async |caller: &Caller| Call { node, caller, values: &values }.done(command).await;
    recorded(&node.security, caller, (command, &values), call).await
}

/// Has the node log so much of what, for a caller.
///
/// # Errors
/// As of any command.
pub(crate) async fn change_log(node: &Node, caller: &Caller, levels: &str) -> Result<(), Refusal> {
    let values = Values::from([("levels".to_owned(), levels.to_owned())]);
    let change = async |caller: &Caller| {
        // Before: the new ones may leave it out.
        tracing::warn!(principal = caller.principal.0, levels, "the levels of the log are to be changed");
        node.log.change(levels)
    };
    recorded(&node.security, caller, (&CHANGE_LOG, &values), change).await
}

/// Does what a caller may do: the privilege first, then the intent on record, then it, then its outcome on record.
async fn recorded<T>(
    security: &Security,
    caller: &Caller,
    (command, values): (&'static Command, &Values),
    act: impl AsyncFnOnce(&Caller) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let recording = Recording::new(command, values);
    let caller = &Caller { command: Some(recording.id.clone()), ..caller.clone() };
    let permitted = check_may(caller, command).map_err(Refusal::from).and_then(|()| check(command, values));
    if let Err(denied) = permitted {
        security.record_denied(caller, &recording, &denied.why).await?;
        return Err(denied);
    }
    security.record_command(caller, &recording, (Phase::Intent, "")).await?;
    let done = act(caller).await;
    security.record_outcome(caller, &recording, done).await
}

/// Refuses a command that a caller may not have done. What shows the trail takes the right to read that, too.
fn check_may(caller: &Caller, command: &Command) -> Result<(), Denied> {
    let Command { target, command, .. } = command;
    caller.check(Privilege::AdminRunCommand, Some(&format!("{target}.{command}")))?;
    if *target == AUDIT { caller.check(Privilege::AuditRead, None) } else { Ok(()) }
}

/// A command that is permitted and on record.
struct Call<'a> {
    node: &'a Arc<Node>,
    caller: &'a Caller,
    values: &'a Values,
}

impl Call<'_> {
    async fn done(&self, command: &Command) -> Result<Table, Refusal> {
        let security = &self.node.security;
        match (command.target, command.command) {
            ("certificate", name) => self.certificate(name),
            ("configuration", name) => self.configuration(name).await,
            ("user", "display") => Ok(show::users(security, self.given("username"), self.given("realm"))),
            ("user" | "password", name) => self.user(name).await,
            ("security", _) => Ok(show::access(security, self.caller, self.given("type"))),
            ("trusted", "test") => show::trust(security, self.needed("address")).await,
            ("trusted", _) => Ok(show::hosts(security)),
            ("realm", name) => self.realm(name).await,
            ("role", _) => Ok(show::roles(self.caller, self.given("role"))),
            ("privilege", _) => Ok(show::privileges()),
            ("authorization", _) => self.explain(),
            ("node", "drain") => Ok(work::drain(self.node)),
            ("node", "getadminport") => Ok(show::ports(security.names())),
            ("node", "stop") => work::stop(self.node),
            ("node", _) => Ok(show::node(self.node)),
            ("audit", "verify") => audit::verified(security, (self.given("key"), self.given("expect"))).await,
            ("audit", "export") => audit::exported(security, self.most()?, self.given("form") == Some("ocsf")).await,
            ("audit", _) => audit::records(security, self.most()?).await,
            ("run", name) => self.runs(name, Of::Run, self.given("run")).await,
            ("session", name) => self.runs(name, Of::Session, self.given("session")).await,
            ("engine", _) => work::engines(self.node, self.most()?).await,
            ("environment", _) => work::environments(self.node, self.caller, self.given("name")).await,
            ("policy", _) => work::policies(self.node, self.caller).await,
            ("cluster", _) => Ok(work::cluster(self.node)),
            _ => Err(Refusal::new(
                Kind::Missing,
                "this cannot be done yet",
                "the node does not know how",
                "see stockade admin help",
            )),
        }
    }

    async fn runs(&self, name: &str, of: Of, id: Option<&str>) -> Result<Table, Refusal> {
        let which = (id, self.given("principal"));
        if name == "cancel" {
            return work::cancel(self.node, of, which).await;
        }
        work::runs(self.node, of, which, self.most()?).await
    }

    fn certificate(&self, name: &str) -> Result<Table, Refusal> {
        let names = self.node.security.names().ok_or_else(|| {
            Refusal::invalid(
                "the node shows no certificate",
                "it is asked at its socket only",
                "start it with --listen ADDRESS:PORT",
            )
        })?;
        if name == "replace" {
            names.replace(self.needed("certificate"), self.needed("key"))?;
            tracing::info!(fingerprint = names.fingerprint(), "another certificate is shown");
        }
        Ok(show::certificate(names))
    }

    fn given(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    fn needed(&self, name: &str) -> &str {
        // `check` has seen that it is there; an empty one names nothing.
        self.given(name).unwrap_or_default()
    }

    fn most(&self) -> Result<u32, Refusal> {
        let Some(text) = self.given("most") else { return Ok(USUAL_MOST) };
        let most = text.parse().ok().filter(|most| (1..=MOST).contains(most));
        most.ok_or_else(|| {
            Refusal::invalid("`most` cannot be used", format!("it is a number from 1 to {MOST}"), "leave it out")
        })
    }

    async fn configuration(&self, name: &str) -> Result<Table, Refusal> {
        let (security, caller) = (&self.node.security, self.caller);
        match name {
            "load" => security
                .load(caller, self.needed("source"), &self.variables()?)
                .await
                .map(|object| show::loaded(&object)),
            "validate" => {
                let object = parse(self.needed("source"), &self.variables()?)?;
                let notes = security.validate(caller, &object).await?;
                Ok(Table { notes, ..show::identity(&super::force::id_of(&object), "valid") })
            }
            "activate" => {
                let notes = security.activate(caller, self.which(), self.within_ms()?).await?;
                self.changed(notes).await
            }
            "deactivate" => {
                let notes = security.deactivate(caller, self.which(), self.within_ms()?).await?;
                self.changed(notes).await
            }
            "confirm" => {
                security.confirm(caller).await?;
                show::objects(security, None, None).await
            }
            "remove" => security.remove(caller, self.which()).await.map(|id| show::identity(&id, "removed")),
            "export" => show::export(security, self.which()).await,
            "diff" => show::diff(security, self.which(), self.given("with")).await,
            "history" => show::history(security, self.most()?).await,
            _ => show::objects(security, self.given("type"), self.given("name")).await,
        }
    }

    /// The object that was changed, with what there was to say of it.
    async fn changed(&self, notes: Vec<String>) -> Result<Table, Refusal> {
        let table = show::objects(&self.node.security, Some(self.needed("type")), self.given("name")).await?;
        Ok(Table { notes: notes.into_iter().chain(table.notes).collect(), ..table })
    }

    fn within_ms(&self) -> Result<Option<u32>, Refusal> {
        within_ms(self.given("force").is_some(), self.given("confirm-within"))
    }

    fn which(&self) -> Which<'_> {
        Which { kind: self.needed("type"), name: self.needed("name"), version: self.given("version") }
    }

    /// Those of the command line come before those of the file.
    fn variables(&self) -> Result<Substitutions, Refusal> {
        let bad =
            |what: &str, why: String, next: String| Refusal::invalid(format!("the {what} cannot be used"), why, next);
        let mut given = Substitutions::none();
        for pair in self.given("substitutions").unwrap_or_default().split(',').filter(|pair| !pair.is_empty()) {
            given.add_pair(pair).map_err(|error| bad("substitutions", error.to_string(), error.next()))?;
        }
        let file = Substitutions::parse_file(self.given("substitution-file").unwrap_or_default())
            .map_err(|error| bad("file of substitutions", error.to_string(), error.next()))?;
        Ok(given.before(file))
    }

    async fn realm(&self, name: &str) -> Result<Table, Refusal> {
        let (security, caller, realm) = (&self.node.security, self.caller, self.given("realm"));
        match name {
            "backup" => Ok(Table::of([("Document", security.backup(caller, realm)?)])),
            "restore" => {
                let restored = security.restore(caller, self.needed("source"), realm).await?;
                Ok(Table::of([("Realm", restored.realm), ("Users", restored.count.to_string())]))
            }
            "setadmin" => {
                security.set_administration(caller, realm, self.given("any").is_some()).await?;
                Ok(show::administration(security))
            }
            "getadmin" => Ok(show::administration(security)),
            _ => Ok(show::realms(security)),
        }
    }

    async fn user(&self, name: &str) -> Result<Table, Refusal> {
        let (security, caller) = (&self.node.security, self.caller);
        let (realm, user) = (self.given("realm"), self.needed("username"));
        let password = self.given("password").map(str::to_owned);
        let roles = self
            .given("roles")
            .map(|roles| roles.split(',').filter(|role| !role.is_empty()).map(str::to_owned).collect());
        match name {
            "add" => {
                let new = NewPrincipal {
                    user: user.to_owned(),
                    password: None,
                    roles: roles.unwrap_or_default(),
                    locked: self.given("locked").is_some(),
                    password_days: self.days()?.unwrap_or(0),
                };
                security.add_user(caller, realm, new, password).await?;
            }
            "remove" => {
                security.remove_user(caller, realm, user).await?;
                return Ok(show::user_named(user, "removed"));
            }
            "change" => security.change_user(caller, (realm, user), Change::default(), password).await?,
            "lock" | "unlock" => {
                let change = Change { locked: Some(name == "lock"), ..Change::default() };
                security.change_user(caller, (realm, user), change, None).await?;
            }
            _ => {
                let change = Change { roles, password_days: self.days()?, ..Change::default() };
                security.change_user(caller, (realm, user), change, None).await?;
            }
        }
        Ok(show::users(security, Some(user), realm))
    }

    fn days(&self) -> Result<Option<u32>, Refusal> {
        let Some(text) = self.given("password-expiration-days") else { return Ok(None) };
        let days = text.parse().map_err(|_| {
            Refusal::invalid("`password-expiration-days` cannot be used", "it is a number of days", "write 0 for never")
        })?;
        Ok(Some(days))
    }

    fn explain(&self) -> Result<Table, Refusal> {
        let named = self.needed("privilege");
        let Some(privilege) = Privilege::named(named) else {
            let names: Vec<_> = Privilege::ALL.iter().map(|one| one.name()).collect();
            let what = format!("there is no privilege `{}`", stockade_core::text::shown(named, 100));
            return Err(Refusal::invalid(
                what,
                "nothing is granted by this name",
                stockade_core::near::next(named, &names),
            ));
        };
        let who = (self.given("user"), self.given("roles"));
        show::explained(self.caller, who, (privilege, self.given("resource")))
    }
}

/// The name of a type, if it is one.
pub(super) fn kind_of(word: Option<&str>) -> Result<Option<&'static str>, Refusal> {
    word.map(kind).transpose()
}
