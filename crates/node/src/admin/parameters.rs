//! What may be said with commands, where several take the same.

use super::commands::{Form, Parameter};

pub(super) const fn text(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, form: Form::Text, required: false }
}

pub(crate) const fn need(name: &'static str, about: &'static str) -> Parameter {
    Parameter { required: true, ..text(name, about) }
}

pub(super) const fn flag(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, form: Form::Flag, required: false }
}

pub(super) const PASSWORD: Parameter = Parameter { form: Form::Secret, ..text("password", "the password") };
pub(super) const SOURCE: Parameter =
    Parameter { form: Form::File, required: true, ..text("source", "the file of the object, in HOCON") };
pub(super) const VARIABLES: [Parameter; 2] = [
    Parameter { form: Form::Values, ..text("substitutions", "values for \"${NAME}\" in texts: NAME=value,NAME=value") },
    Parameter { form: Form::File, ..text("substitution-file", "a file of such values, one to a line") },
];
pub(super) const OBJECT: [Parameter; 3] = [
    Parameter { required: true, ..TYPE },
    need("name", "the name of the object"),
    text("version", "its version; the only one, or the active one, if left out"),
];
pub(super) const CHANGE: [Parameter; 5] = [
    OBJECT[0],
    OBJECT[1],
    OBJECT[2],
    flag("force", "even if you could not administer the node then; takes --confirm-within"),
    text("confirm-within", "give it back if nobody confirms it in that time, such as 120s"),
];
pub(super) const TYPE: Parameter = text("type", "the type of the object: security, or in full stockade.security");
pub(super) const REALM: Parameter = text("realm", "the realm; the only local one if left out");
pub(super) const USER: Parameter = need("username", "the name of the user");
pub(super) const ROLES: Parameter = text("roles", "the roles it holds, with commas between them");
pub(super) const PRINCIPAL: Parameter = text("principal", "only those of this principal: NAME@REALM");
pub(super) const OF_PRINCIPAL: Parameter = text("principal", "all of this principal: NAME@REALM");
pub(super) const INTO: Parameter =
    Parameter { form: Form::Into, ..text("file", "a new file that it is written to, which only you may read") };
pub(super) const EXPIRES: Parameter =
    text("password-expiration-days", "days after which the password is of no use any more; 0 is never");
