//! Rust source as tokens, so that comments and strings are never taken for code.

use proc_macro2::{TokenStream, TokenTree};

/// A token and the line it begins on, counted from 1. A group is its two delimiters around its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// A word, a punctuation character, a delimiter, or a literal as written.
    pub(super) text: String,
    pub(super) line: usize,
}

/// The tokens of a file in order; doc comments come as `#[doc = "…"]`. `Err` names what does not parse.
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, String> {
    let stream: TokenStream = source.parse().map_err(|error| format!("no Rust source: {error}"))?;
    let mut tokens = Vec::new();
    flatten(stream, &mut tokens);
    Ok(tokens)
}

/// Where `pattern` begins among the tokens, each of its words being one token.
pub(super) fn find(tokens: &[Token], pattern: &[&str]) -> Vec<usize> {
    let matches = |window: &[Token]| window.iter().map(|token| &token.text).eq(pattern);
    let windows = tokens.windows(pattern.len()).enumerate();
    windows.filter(|(_, window)| matches(window)).map(|(index, _)| index).collect()
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    use proc_macro2::Delimiter::{Brace, Bracket, None, Parenthesis};
    for tree in stream {
        let line = tree.span().start().line;
        let mut push = |text: &str, line| tokens.push(Token { text: text.to_owned(), line });
        match tree {
            TokenTree::Ident(word) => push(&word.to_string(), line),
            TokenTree::Punct(punctuation) => push(&punctuation.as_char().to_string(), line),
            TokenTree::Literal(literal) => push(&literal.to_string(), line),
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Parenthesis => ("(", ")"),
                    Brace => ("{", "}"),
                    Bracket => ("[", "]"),
                    None => ("", ""),
                };
                push(open, line);
                flatten(group.stream(), tokens);
                let line = group.span_close().start().line;
                tokens.push(Token { text: close.to_owned(), line });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{find, tokens};

    #[test]
    fn comments_and_strings_are_not_code() {
        let source =
            "// unsafe\n/* unsafe */\nfn f() { g(\"unsafe\", r#\"unsafe\"#); }\nunsafe fn g() {}";
        let tokens = tokens(source).unwrap();
        let found = find(&tokens, &["unsafe"]);
        assert_eq!(found.iter().map(|index| tokens[*index].line).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn patterns_go_through_groups_and_macros() {
        let tokens = tokens("mod m { my! { thread::sleep(x) } }").unwrap();
        assert_eq!(find(&tokens, &["thread", ":", ":", "sleep"]).len(), 1);
        assert!(super::tokens("fn f( {").is_err());
    }
}
