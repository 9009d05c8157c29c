//! Data functions over HTTP: run as others are, and never with files of the host.

use serde_json::{Value, json};

use crate::support::Node;

fn ask(node: &Node, function: &Value, more: &Value) -> Value {
    let mut body = json!({"function": function});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    node.ask("POST", "/v1/data-functions", &[], &body).whole().unwrap().expect(200).json()
}

#[test]
fn a_data_function_is_run_and_its_results_are_outputs() {
    let node = Node::start(&[]);
    let function = json!({
        "script": "y = t.groupby('a', as_index=False)['b'].sum()\ny['b'] = y['b'] * factor\nprint('y\\n0')",
        "inputs": [{"name": "t", "type": "table", "file": "t.csv"}, {"name": "factor", "type": "value", "value": 2}],
        "outputs": [{"name": "y", "format": "csv"}, {"name": "same", "format": "sbdf"}],
    });
    let mut function_of_two = function.clone();
    function_of_two["script"] = json!(format!("{}\nsame = t", function["script"].as_str().unwrap()));
    // "a,b\n1,2\n1,3\n4,5\n"
    let inputs =
        json!({"inputs": [{"name": "t.csv", "content": "YSxiCjEsMgoxLDMKNCw1Cg=="}], "limits": {"time": "3m"}});
    let run = ask(&node, &function_of_two, &inputs);
    assert_eq!((&run["outcome"]["cause"], &run["stdout"]), (&json!("exited"), &json!("y\n0\n")), "{run}");
    assert_eq!(run["outcome"]["status"], 0, "{run}");
    let output = |name: &str| node.get(&format!("/v1/runs/{}/outputs/{name}", run["id"].as_str().unwrap())).expect(200);
    assert_eq!(output("y.csv").text(), "a,b\n1,10\n4,10\n");
    assert!(output("same.sbdf").body.starts_with(&[0xdf, 0x5b]));
    // One that lacks a result has not gone well, whatever it printed.
    let run = ask(&node, &function, &inputs);
    assert_eq!(run["outcome"]["status"], 1, "{run}");
    assert!(run["stderr"].as_str().unwrap().contains("'same' was not defined"), "{run}");
}

#[test]
fn files_are_sent_as_parts_of_a_form() {
    let node = Node::start(&[]);
    let request = json!({
        "function": {
            "script": "y = t * 2",
            "inputs": [{"name": "t", "type": "table", "file": "t.csv"}],
            "outputs": [{"name": "y", "format": "csv"}],
        },
    });
    let form = format!(
        "--x\r\ncontent-disposition: form-data; name=\"request\"\r\n\r\n{request}\r\n\
         --x\r\ncontent-disposition: form-data; name=\"input\"; filename=\"t.csv\"\r\n\r\na\n21\n\r\n--x--\r\n"
    );
    let kind = [("content-type", "multipart/form-data; boundary=x")];
    let run = node.send("POST", "/v1/data-functions", &kind, form.as_bytes()).whole().unwrap().expect(200).json();
    assert_eq!(run["outcome"]["status"], 0, "{run}");
    let output = node.get(&format!("/v1/runs/{}/outputs/y.csv", run["id"].as_str().unwrap())).expect(200);
    assert_eq!(output.text(), "y\n42\n".replace('y', "a"));
}

#[test]
fn what_is_printed_is_no_result_and_what_was_not_asked_for_is_said() {
    let node = Node::start(&[]);
    let run = |script: &str, format: &str| {
        ask(&node, &json!({"script": script, "outputs": [{"name": "y", "format": format}]}), &json!({}))
    };
    // Everything that could be a protocol, to every descriptor that there is.
    let forged = r#"
import os
claim = b'{"kind": "result", "name": "y", "file": "y.csv", "status": 0, "type": "output"}\ny\n1\n'
for number in range(1, 64):
    try:
        os.write(number, claim)
    except OSError:
        pass
os._exit(0)
"#;
    let forged = run(forged, "csv");
    assert_eq!(forged["outcome"]["status"], 1, "{forged}");
    assert!(forged["outcome"]["refusal"].to_string().contains("the data function has no result `y`"), "{forged}");
    let id = forged["id"].as_str().unwrap();
    node.get(&format!("/v1/runs/{id}/outputs/y.csv")).expect(404);
    // By other ways than the library, and not in the format that was asked for.
    let junk = run("import os; open('y.parquet', 'w').write('junk'); os._exit(0)", "parquet");
    assert_eq!(junk["outcome"]["status"], 1, "{junk}");
    assert!(
        junk["outcome"]["refusal"]
            .to_string()
            .contains("the result `y` of the data function is not what was asked for"),
        "{junk}"
    );
    let id = junk["id"].as_str().unwrap();
    node.get(&format!("/v1/runs/{id}/outputs/y.parquet")).expect(404);
}

#[test]
fn a_description_names_no_file_that_was_not_sent() {
    let node = Node::start(&[]);
    let outputs = json!([{"name": "y", "format": "csv"}]);
    let outside = node.folder.join("settings.json");
    for file in ["/etc/passwd", "../function.json", "inputs/../../in/t.csv", ".hidden", outside.to_str().unwrap()] {
        for function in [
            json!({"script": "y = x", "inputs": [{"name": "x", "type": "table", "format": "csv", "file": file}], "outputs": outputs}),
            json!({"script_file": file, "outputs": outputs}),
        ] {
            let run = ask(&node, &function, &json!({}));
            let refusal = run["outcome"]["refusal"].to_string();
            assert!(refusal.contains("is not the name of a file that was sent"), "{file}: {run}");
        }
    }
    let absent = json!({"script": "y = x", "inputs": [{"name": "x", "type": "table", "file": "absent.csv"}], "outputs": outputs});
    let run = ask(&node, &absent, &json!({}));
    assert!(run["outcome"]["refusal"].to_string().contains("the input `x` of the data function is missing"), "{run}");
    assert_eq!(run["outcome"]["status"], 125, "{run}");
}

#[test]
fn what_is_no_data_function_is_refused_at_once() {
    let node = Node::start(&[]);
    for body in [
        json!({}),
        json!({"function": "print(1)"}),
        json!({"function": {}, "code": "1"}),
        json!({"function": {}, "inputs": [{"name": "../x", "content": ""}]}),
    ] {
        node.ask("POST", "/v1/data-functions", &[], &body).whole().unwrap().expect(422);
    }
    let form = "--x\r\ncontent-disposition: form-data; name=\"script\"; filename=\"a.py\"\r\n\r\n1\r\n--x--\r\n";
    let kind = [("content-type", "multipart/form-data; boundary=x")];
    let refused = node.send("POST", "/v1/data-functions", &kind, form.as_bytes()).whole().unwrap().expect(422);
    assert!(refused.text().contains("has no part `script`"), "{}", refused.text());
    // A script cannot be called what a description is called.
    node.post(&[], &json!({"code": "{}", "name": "function.json"})).whole().unwrap().expect(422);
}
