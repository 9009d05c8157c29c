//! Notebooks: executed top to bottom, kept with what they showed.

use serde_json::{Value, json};

use crate::support::{Folder, PACKAGES, User, honest, is_picture, make_results, output_names, own_errors, run, users};

/// A notebook of these cells.
fn notebook(cells: &[&str]) -> String {
    let cells: Vec<Value> = cells.iter().map(|source| json!({"cell_type": "code", "execution_count": null, "metadata": {}, "outputs": [], "source": source})).collect();
    json!({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}).to_string()
}

fn executed(folder: &Folder, name: &str) -> Value {
    serde_json::from_str(&folder.read(name)).unwrap()
}

#[test]
fn a_notebook_runs_top_to_bottom_and_is_kept_with_its_results() {
    for user in users() {
        let folder = Folder::new();
        folder.write("in.csv", "k,v\na,1\nb,41\n");
        folder.write(
            "n.ipynb",
            notebook(&[
                "import sys, pandas as pd\ndata = pd.read_csv('in.csv')\nprint('arguments', sys.argv[1:])",
                "data.v.sum()",
                "import matplotlib.pyplot as plt\ndata.plot.bar(x='k')\nplt.show()",
                "!echo from the shell\ndata.to_csv('copy.csv')",
                "from concurrent.futures import ProcessPoolExecutor\nlist(ProcessPoolExecutor(2).map(abs, [-1, -2]))",
            ]),
        );
        make_results(&folder);
        let ran = honest(
            run(user, &folder)
                .args(["--with", PACKAGES, "--in", "in.csv", "--out", "results", "n.ipynb", "one", "--two"])
                .run()
                .expect(0),
        );
        // IPython gives the shell a terminal, inside as outside.
        assert_eq!(ran.stdout.replace('\r', ""), "arguments ['one', '--two']\nfrom the shell\n");
        assert_eq!(output_names(&ran), ["copy.csv", "figure-1.png", "n.executed.ipynb"]);
        assert!(is_picture(&folder.path().join("results/figure-1.png")));
        let cells = executed(&folder, "results/n.executed.ipynb")["cells"].clone();
        assert!(cells[1].to_string().contains("42"), "{cells}");
        assert!(cells[2].to_string().contains("image/png"));
        assert_eq!(cells[4]["execution_count"], 5);
    }
}

#[test]
fn an_error_ends_a_notebook_that_is_kept_as_far_as_it_came() {
    let folder = Folder::new();
    folder.write("n.ipynb", notebook(&["print('one')", "raise ValueError('two')", "print('three')"]));
    let ran =
        honest(run(User::Caller, &folder).args(["--with", PACKAGES, "--out", "results", "n.ipynb"]).run().expect(1));
    assert_eq!(ran.stdout, "one\n");
    assert!(own_errors(&ran).contains("ValueError: two"), "{ran:?}");
    let cells = executed(&folder, "results/n.executed.ipynb")["cells"].clone();
    assert!(cells[0].to_string().contains("one") && cells[1].to_string().contains("ValueError"), "{cells}");
    assert_eq!(cells[2]["execution_count"], Value::Null);
}

#[test]
fn a_kernel_that_dies_is_an_error_in_plain_words() {
    let folder = Folder::new();
    folder.write("n.ipynb", notebook(&["print('one', flush=True)", "import os; os._exit(0)"]));
    let ran = honest(run(User::Caller, &folder).args(["--with", PACKAGES, "n.ipynb"]).run().expect(1));
    assert_eq!(own_errors(&ran), "error: `n.ipynb` stopped\n  why:  its kernel ended before the notebook did\n");
}
