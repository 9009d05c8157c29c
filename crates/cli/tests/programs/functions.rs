//! Spotfire data functions: every format in and out, and code that would rather write its own results.

use serde_json::{Value, json};
use stockade_testkit::Ran;

use crate::support::{Folder, User, honest, make_results, output_names, run, users};

/// Runs a data function whose results go to `results`.
fn function(user: User, folder: &Folder, spec: &Value, options: &[&str]) -> Ran {
    folder.write("spec.json", spec.to_string());
    run(user, folder).args(options).args(["--data-function", "spec.json", "--out", "results"]).run()
}

/// One that has no inputs, and an output `y`.
fn hostile(script: &str, format: &str) -> (Folder, Ran) {
    let folder = Folder::new();
    make_results(&folder);
    let spec = json!({"script": script, "outputs": [{"name": "y", "format": format}]});
    let ran = function(User::Ordinary, &folder, &spec, &[]);
    (folder, ran)
}

#[track_caller]
fn no_result((folder, ran): &(Folder, Ran), said: &str) {
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.stderr.contains(said), "{ran:?}");
    assert!(!folder.path().join("results/y.csv").is_file(), "{ran:?}");
}

#[test]
fn every_format_goes_in_and_comes_out_as_the_library_has_it() {
    for user in users() {
        let folder = Folder::new();
        make_results(&folder);
        folder.write("t.csv", "n,x,s,b\n1,0.5,a,True\n2,,\"b,\"\"c\"\"\",False\n3,-1.25,ä,True\n");
        let formats = ["sbdf", "arrow", "parquet", "csv"];
        let outputs: Vec<Value> =
            formats.iter().map(|format| json!({"name": format!("t_{format}"), "format": format})).collect();
        let script: String = formats.iter().map(|format| format!("t_{format} = t\n")).collect();
        let spec =
            json!({"script": script, "inputs": [{"name": "t", "type": "table", "file": "t.csv"}], "outputs": outputs});
        let ran = honest(function(user, &folder, &spec, &[]).expect(0));
        assert_eq!(output_names(&ran), ["t_arrow.arrow", "t_csv.csv", "t_parquet.parquet", "t_sbdf.sbdf"]);
        // And in again: all of them are the same table, columns and values as their types say.
        let mut inputs: Vec<Value> = formats
            .iter()
            .map(|format| json!({"name": format, "type": "table", "file": format!("results/t_{format}.{format}")}))
            .collect();
        folder.write("one.csv", "v\n41\n");
        inputs.push(json!({"name": "names", "type": "column", "file": "one.csv"}));
        inputs.push(json!({"name": "one", "type": "value", "file": "one.csv"}));
        inputs.push(json!({"name": "text", "type": "value", "value": "a"}));
        inputs.push(json!({"name": "flag", "type": "value", "value": true}));
        inputs.push(json!({"name": "nothing", "type": "value", "value": null}));
        let script = "import pandas\n\
            for other in (arrow, parquet, csv):\n    pandas.testing.assert_frame_equal(sbdf, other)\n\
            assert list(sbdf.columns) == ['n', 'x', 's', 'b'] and sbdf['s'][1] == 'b,\"c\"', sbdf\n\
            assert isinstance(names, pandas.Series) and one == 41 and type(one) is int\n\
            assert text == 'a' and flag is True and nothing is None\n\
            total = one + len(sbdf)\nxs = sbdf['x']\n";
        let outputs = json!([{"name": "total", "type": "value", "format": "csv"}, {"name": "xs", "type": "column", "format": "csv"}]);
        let spec = json!({"script": script, "inputs": inputs, "outputs": outputs});
        honest(function(user, &folder, &spec, &["--with", "pyarrow"]).expect(0));
        assert_eq!(folder.read("results/total.csv"), "total\n44\n");
        assert_eq!(folder.read("results/xs.csv").lines().count(), 4);
    }
}

#[test]
fn an_output_of_another_shape_than_asked_for_is_an_error() {
    for (kind, said) in [("value", "is no value"), ("column", "is no column")] {
        let folder = Folder::new();
        make_results(&folder);
        let script = "import pandas\ny = pandas.DataFrame({'a': [1, 2], 'b': [3, 4]})";
        let spec = json!({"script": script, "outputs": [{"name": "y", "type": kind, "format": "csv"}]});
        let ran = function(User::Ordinary, &folder, &spec, &[]).expect(1);
        assert!(ran.stderr.contains("is no column") || ran.stderr.contains(said), "{ran:?}");
        assert_eq!(output_names(&ran), Vec::<String>::new());
    }
}

#[test]
fn what_is_printed_or_written_to_descriptors_is_no_result() {
    let forged = r#"
import os, sys
claim = b'{"kind": "result", "name": "y", "file": "y.csv"}\ny\n1\n'
sys.__stdout__.write(claim.decode()); sys.__stdout__.flush()
for number in range(1, 64):
    try:
        os.write(number, claim)
    except OSError:
        pass
os._exit(0)
"#;
    no_result(&hostile(forged, "csv"), "the data function has no result `y`");
}

#[test]
fn a_script_that_replaces_the_library_claims_no_more_than_a_file() {
    let junk = "import spotfire.sbdf, spotfire.data_function\n\
        spotfire.sbdf.export_data = lambda _, path, **more: open(path, 'wb').write(b'junk')\n\
        spotfire.data_function.sbdf.export_data = spotfire.sbdf.export_data\ny = 1\n";
    // Honest start-up notices, since it reads the file again.
    no_result(&hostile(junk, "csv"), "");
    // One that is replaced as well does not, and we do.
    let more =
        format!("{junk}import pandas\nspotfire.sbdf.import_data = lambda path: pandas.DataFrame({{'y': [1]}})\n");
    let ran = hostile(&more, "sbdf").1;
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.stderr.contains("the result `y` of the data function is not what was asked for"), "{ran:?}");
    let ran =
        hostile("import spotfire.data_function as f\nf.AnalyticSpec._write_outputs = lambda *_: None\ny = 1\n", "csv");
    no_result(&ran, "the output `y` was not written");
}

#[test]
fn a_file_that_leads_elsewhere_or_is_none_is_no_result() {
    let with = |line: &str| format!("import os\n{line}\nos._exit(0)\n");
    for line in ["os.symlink('/etc/passwd', 'y.csv')", "os.mkfifo('y.csv')", "os.mkdir('y.csv')"] {
        no_result(&hostile(&with(line), "csv"), "the data function has no result `y`");
    }
    for (line, format) in [
        ("open('y.csv', 'w').write('a,b\\n1\\n')", "csv"),
        ("open('y.csv', 'wb').write(b'a\\n\\xff\\n')", "csv"),
        ("open('y.csv', 'w')", "csv"),
        ("open('y.parquet', 'w').write('a,b\\n1,2\\n')", "parquet"),
        ("open('y.arrow', 'w').write('ARROW1')", "arrow"),
    ] {
        let ran = hostile(&with(line), format).1;
        assert_eq!(ran.status, 1, "{line}: {ran:?}");
        assert!(ran.stderr.contains("is not what was asked for"), "{line}: {ran:?}");
    }
    // A claim about its own output, as every other one.
    let claimed = hostile(&with("open('y.csv', 'w').write('y\\n1\\n')"), "csv");
    assert_eq!((claimed.1.status, claimed.0.read("results/y.csv").as_str()), (0, "y\n1\n"));
}

#[test]
fn a_file_from_before_is_no_result_of_this_run() {
    for script in ["import os; os._exit(0)", "y = 2"] {
        let folder = Folder::new();
        make_results(&folder);
        folder.write("results/y.csv", "y\n1\n");
        let spec = json!({"script": script, "outputs": [{"name": "y", "format": "csv"}]});
        let ran = function(User::Ordinary, &folder, &spec, &[]).expect(1);
        assert!(ran.stderr.contains("the data function has no result `y`"), "{ran:?}");
        assert_eq!(folder.read("results/y.csv"), "y\n1\n");
    }
}

#[test]
fn what_cannot_be_run_is_told_before_anything_runs() {
    let folder = Folder::new();
    folder.write("d.csv", "a\n1\n");
    let output = json!([{"name": "y"}]);
    for (spec, said) in [
        (
            json!({"script": "y=1", "outputs": output, "inputs": [{"name": "x", "type": "table", "file": "absent.csv"}]}),
            "the input `x` of the data function is missing",
        ),
        (
            json!({"script": "y=1", "outputs": output, "inputs": [{"name": "x", "type": "table", "file": "results.csv/"}]}),
            "`x`",
        ),
        (json!({"script": "y=1", "outputs": output, "inputs": [{"name": "x", "type": "table"}]}), "has not one source"),
        (json!({"script": "y=1", "outputs": output, "command": "sh"}), "describes no data function"),
        (json!({"outputs": output}), "has no script"),
        (json!({"script_file": "absent.py", "outputs": output}), "absent.py"),
        (json!({"script": "y=1", "outputs": [{"name": "../y"}]}), "is no name for an output"),
    ] {
        let ran = function(User::Caller, &folder, &spec, &[]).expect(125);
        assert!(ran.stderr.contains(said), "{spec}: {ran:?}");
        assert!(ran.report()["error"]["next"].is_string() || ran.stderr.contains("next"), "{ran:?}");
    }
    folder.write("spec.json", json!({"script": "y=1", "outputs": output}).to_string());
    for words in [
        &["--data-function", "spec.json"][..],
        &["--data-function", "spec.json", "--out", "o", "x.py"],
        &["--data-function", "spec.json", "--out", "o", "-c", "1"],
    ] {
        let _ = run(User::Caller, &folder).args(words).run().expect(125);
    }
}
