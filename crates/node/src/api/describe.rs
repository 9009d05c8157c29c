//! The API's description, made of the code: as OpenAPI for programs, as one plain page for people.

use axum::Json;
use axum::response::Html;
use serde_json::Value;
use utoipa::OpenApi;

use super::{
    admin, commands, create, events, functions, health, login, looks, me, outputs, problem, runs, sessions, types,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Stockade node", description = "Runs Python, R and SQL that nobody has audited, inside walls."),
    paths(
        create::create,
        functions::run,
        runs::list,
        runs::show,
        runs::end,
        events::events,
        outputs::archive,
        outputs::one,
        sessions::open,
        sessions::list,
        sessions::show,
        sessions::close,
        sessions::execute,
        sessions::executions,
        sessions::interrupt,
        sessions::restart,
        sessions::put,
        sessions::put_table,
        sessions::get,
        login::login,
        login::begin_device,
        login::ask_device,
        login::logout,
        me::me,
        looks::environments,
        looks::environment,
        looks::policies,
        looks::check,
        commands::command,
        admin::levels,
        admin::change,
        health::alive,
        health::ready,
        health::metrics
    ),
    components(schemas(types::OutcomeDocument, problem::ProblemDocument))
)]
struct Api;

/// The document.
pub(super) async fn openapi() -> Json<Value> {
    Json(document())
}

pub(super) fn document() -> Value {
    serde_json::to_value(Api::openapi()).unwrap_or_default()
}

/// The same for people.
pub(super) async fn page() -> Html<String> {
    Html(written(&document()))
}

const HEAD: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Stockade node</title>\
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:50em;margin:2em auto;padding:0 1em}code{background:#eee;padding:0 .3em}\
h2{margin-top:2em;font-size:1.1em}table{border-collapse:collapse}td{padding:.1em 1em .1em 0;vertical-align:top}\
@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}code{background:#333}}</style>\
<h1>Stockade node</h1><p>Machines read <a href=\"/openapi.json\">/openapi.json</a>. \
An example: <code>curl --unix-socket node.sock http://node/v1/runs --json '{\"code\": \"print(1)\"}'</code></p>";

fn written(document: &Value) -> String {
    let mut page = HEAD.to_owned();
    for (path, methods) in document.get("paths").and_then(Value::as_object).into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            page.push_str(&format!("<h2><code>{} {path}</code></h2>", method.to_uppercase()));
            let [summary, description] = ["summary", "description"].map(|key| text(operation, key));
            page.push_str(&format!("<p><b>{summary}</b>. {description}</p><table>"));
            for parameter in operation.get("parameters").and_then(Value::as_array).into_iter().flatten() {
                let [name, place, about] = ["name", "in", "description"].map(|key| text(parameter, key));
                page.push_str(&format!("<tr><td><code>{name}</code><td>{place}<td>{about}"));
            }
            page.push_str("</table>");
        }
    }
    for (name, schema) in document.pointer("/components/schemas").and_then(Value::as_object).into_iter().flatten() {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { continue };
        page.push_str(&format!("<h2>{name}</h2><p>{}</p><table>", text(schema, "description")));
        for (property, about) in properties {
            page.push_str(&format!("<tr><td><code>{property}</code><td>{}", text(about, "description")));
        }
        page.push_str("</table>");
    }
    page
}

/// Text of our own sources, as HTML.
fn text(value: &Value, key: &str) -> String {
    let said = value.get(key).and_then(Value::as_str).unwrap_or_default();
    said.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` below a value.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn what_the_document_refers_to_is_in_it() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.contains(&"#/components/schemas/ProblemDocument"));
        for reference in found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_path_is_described_and_the_page_needs_nothing_from_elsewhere() {
        let document = document();
        let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
        assert_eq!(paths.len(), 27, "{paths:?}");
        let page = written(&document);
        for path in paths {
            assert!(page.contains(path.as_str()), "{path}");
        }
        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("https://"));
    }
}
