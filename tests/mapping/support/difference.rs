//! Two texts to a unified diff.

/// Lines shown around a difference.
const CONTEXT: usize = 3;

/// What makes `found` of `expected`; the first line names the file and the first line that differs.
pub(crate) fn unified(file: &str, expected: &str, found: &str) -> String {
    let (old, new) = (lines(expected), lines(found));
    let edits = edits(&old, &new);
    let differs = |edit: &Edit| !matches!(edit, Edit::Both(_));
    let first = edits.iter().take_while(|edit| !differs(edit)).count();
    let mut text = format!("{file}:{}: -expected +found\n", first + 1);
    let mut at = 0;
    while let Some(start) = edits[at..].iter().position(differs).map(|offset| at + offset) {
        // A hunk ends where more lines are equal than two contexts hold.
        let mut end = start;
        while let Some(next) = edits[end..].iter().position(differs) {
            if next > 2 * CONTEXT {
                break;
            }
            end += next + 1;
        }
        let from = start.saturating_sub(CONTEXT).max(at);
        let to = (end + CONTEXT).min(edits.len());
        text += &hunk(&edits[..from], &edits[from..to], &old, &new);
        at = to;
    }
    text
}

enum Edit {
    Both(usize),
    Old(usize),
    New(usize),
}

/// The lines with their ends, so that a missing last one shows.
fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// By the longest common subsequence of lines.
fn edits(old: &[&str], new: &[&str]) -> Vec<Edit> {
    let mut longest = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for (i, line) in old.iter().enumerate().rev() {
        for (j, other) in new.iter().enumerate().rev() {
            longest[i][j] = if line == other {
                longest[i + 1][j + 1] + 1
            } else {
                longest[i + 1][j].max(longest[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut edits = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            edits.push(Edit::Both(i));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && longest[i + 1][j] >= longest[i][j + 1]) {
            edits.push(Edit::Old(i));
            i += 1;
        } else {
            edits.push(Edit::New(j));
            j += 1;
        }
    }
    edits
}

fn hunk(before: &[Edit], edits: &[Edit], old: &[&str], new: &[&str]) -> String {
    let olds = |edits: &[Edit]| edits.iter().filter(|edit| !matches!(edit, Edit::New(_))).count();
    let news = |edits: &[Edit]| edits.iter().filter(|edit| !matches!(edit, Edit::Old(_))).count();
    let mut text = format!(
        "@@ -{},{} +{},{} @@\n",
        olds(before) + 1,
        olds(edits),
        news(before) + 1,
        news(edits)
    );
    for edit in edits {
        let (sign, line) = match edit {
            Edit::Both(line) => (' ', old[*line]),
            Edit::Old(line) => ('-', old[*line]),
            Edit::New(line) => ('+', new[*line]),
        };
        text.push(sign);
        text += line;
        if !line.ends_with('\n') {
            text += "\n\\ no line end\n";
        }
    }
    text
}
