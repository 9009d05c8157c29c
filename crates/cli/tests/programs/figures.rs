//! Figures that code shows become files; those it saves itself stay as they are.

use crate::support::{Folder, PACKAGES, User, is_picture, output_names, quiet, run};

const SCRIPT: &str = r#"
import matplotlib.pyplot as plt, pandas as pd
plt.plot([1, 2, 3]); plt.title("é ü 漢 $x^2$"); plt.savefig("own.png"); plt.show()
figure, axes = plt.subplots(1, 2); axes[0].bar(["a", "b"], [1, 2]); axes[1].imshow([[1, 2], [3, 4]]); plt.show()
pd.DataFrame({"a": [1, 3, 2]}).plot(); plt.savefig("own.svg"); plt.savefig("own.pdf"); plt.close()
plt.hist([1, 2, 2, 3]); plt.show()
"#;

#[test]
fn figures_shown_become_files_and_figures_saved_are_not_doubled() {
    let folder = Folder::new();
    // A font without Chinese warns outside as well.
    folder.write("x.py", SCRIPT.replace('漢', "c"));
    let ran = quiet(run(User::Caller, &folder).args(["--with", PACKAGES, "--out", "results", "x.py"]).run().expect(0));
    assert_eq!(output_names(&ran), ["figure-1.png", "figure-2.png", "own.pdf", "own.png", "own.svg"]);
    for name in ["figure-1.png", "figure-2.png", "own.png"] {
        assert!(is_picture(&folder.path().join("results").join(name)), "{name}");
    }
}

#[test]
fn a_backend_that_the_script_chooses_is_used() {
    let folder = Folder::new();
    folder.write("x.py", "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.savefig('own.png')\nprint(matplotlib.get_backend().lower())\n");
    let ran = quiet(run(User::Caller, &folder).args(["--with", PACKAGES, "x.py"]).run().expect(0));
    assert_eq!((ran.stdout.as_str(), output_names(&ran)), ("agg\n", vec!["own.png".to_owned()]));
}
