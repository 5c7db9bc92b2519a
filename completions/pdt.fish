# Completion of pdt for fish, as PREFIX/share/fish/vendor_completions.d/pdt.fish. Made by tools/generate.

function __pdt_complete
    set -l line (commandline --current-process --cut-at-cursor | string collect)
    set -l token (commandline --current-token --cut-at-cursor)
    set -l found (env _PDT_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args \
        _TYPER_COMPLETE_ARGS="$line" pdt 2>/dev/null | string match -r '.+')
    # What is offered for --option=VALUE is the value; fish wants the whole word.
    set -l option (string match -r '^--[^=]*=' -- $token; or echo)
    if not set -q found[1]
        set found (__fish_complete_path (string replace -- "$option" '' $token))
    end
    set -q found[1]; and printf '%s\n' $option$found
end

complete --command pdt --no-files --arguments '(__pdt_complete)'
