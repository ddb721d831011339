//! SQL as text: its words, whatever its layout (what two texts share that mean the same by their letters), and names in it.

/// A text as a literal.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The text without comments and with one space wherever there was white space or a comment, but for what is quoted.
pub(crate) fn tokens(sql: &str) -> String {
    let mut tokens = String::with_capacity(sql.len());
    let mut rest = sql.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' => rest[1..].find(first).map_or(rest.len(), |end| end + 2),
            '-' if rest.starts_with("--") => {
                rest = skip(rest, rest.find('\n'), &mut tokens);
                continue;
            }
            '/' if rest.starts_with("/*") => {
                rest = skip(rest, rest.find("*/").map(|end| end + 2), &mut tokens);
                continue;
            }
            space if space.is_whitespace() => {
                rest = skip(rest, Some(space.len_utf8()), &mut tokens);
                continue;
            }
            other => other.len_utf8(),
        };
        tokens.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    tokens.truncate(tokens.trim_end().len());
    tokens
}

/// Leaves something out, to its end or to that of the text, and the white space after it: for all of them one space.
fn skip<'a>(rest: &'a str, end: Option<usize>, tokens: &mut String) -> &'a str {
    if !tokens.ends_with(' ') {
        tokens.push(' ');
    }
    end.map_or("", |end| rest[end..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_and_comments_are_left_out_and_what_is_quoted_stays() {
        let same = [
            "SELECT a, 'x  -- y' FROM t",
            "SELECT a, -- why\n  'x  -- y'\nFROM /* all */ t -- end",
            "\n SELECT\ta, 'x  -- y' FROM t\n",
        ];
        for sql in same {
            assert_eq!(tokens(sql), "SELECT a, 'x  -- y' FROM t", "{sql}");
        }
        for other in ["SELECT a, 'x -- y' FROM t", "SELECT a, 'x  -- y' FROM u", "SELECT \"a  b\""] {
            assert_eq!(tokens(other), other);
        }
        assert_eq!(tokens("a - -- it's\n b"), "a - b");
        assert_eq!((tokens(""), tokens("-- nothing"), tokens("'open")), ("".into(), "".into(), "'open".into()));
    }
}
