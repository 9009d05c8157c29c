//! In a container: what analysts run works there, too, with packages, notebooks, R and SQL.

use crate::support::{Folder, PACKAGES, User, make_results, output_names, run, skipped};

/// The tiers whose runtime is here.
fn tiers() -> Vec<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    [("gvisor", "runsc"), ("oci", "runc")]
        .into_iter()
        .filter(|(tier, program)| {
            if !has(program) {
                skipped(&format!("the tier {tier}"), &format!("{program} is not installed"));
            }
            has(program)
        })
        .map(|(tier, _)| tier)
        .collect()
}

#[test]
fn packages_notebooks_r_and_sql_work_in_a_container() {
    for tier in tiers() {
        let folder = Folder::new();
        folder.write("in.csv", "k,v\na,1\nb,41\n");
        folder.write(
            "x.py",
            "import numpy, pandas, polars, pyarrow, sklearn.linear_model\nimport matplotlib.pyplot as plt\ndata = pandas.read_csv('in.csv')\nprint(data.v.sum(), numpy.linalg.inv(numpy.eye(3)).trace())\ndata.plot.bar(x='k')\nplt.show()\n",
        );
        folder.write("n.ipynb", r#"{"cells": [{"cell_type": "code", "execution_count": null, "metadata": {}, "outputs": [], "source": "print(6 * 7)"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}"#);
        folder.write("q.sql", "select sum(v) as total from 'in.csv'");
        folder.write("m.R", "data <- read.csv('in.csv'); cat(sum(data$v), '\\n'); png('r.png'); plot(1:3); dev.off()");
        make_results(&folder);
        let call =
            || run(User::Caller, &folder).args(["--tier", tier, "--in", "in.csv", "--out", "results", "--overwrite"]);
        let packages = ["--with", PACKAGES];
        let ran = call().args(packages).arg("x.py").run().expect(0);
        assert_eq!((ran.stdout.as_str(), output_names(&ran)), ("42 3.0\n", vec!["figure-1.png".to_owned()]), "{tier}");
        let ran = call().args(packages).arg("n.ipynb").run().expect(0);
        assert_eq!((ran.stdout.as_str(), output_names(&ran)), ("42\n", vec!["n.executed.ipynb".to_owned()]), "{tier}");
        let ran = call().args(packages).arg("q.sql").run().expect(0);
        assert!(ran.stdout.contains("42") && output_names(&ran) == ["result.csv"], "{tier}: {}", ran.stdout);
        let ran = call().arg("m.R").run().expect(0);
        assert!(ran.stdout.starts_with("42") && output_names(&ran) == ["r.png"], "{tier}: {ran:?}");
    }
}
