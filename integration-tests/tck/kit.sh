# shellcheck shell=bash
# Fetching the official compatibility kit. Sourced in the root of the repository, after deploy/setup.sh.

kit_version() {
    sed -n 's:.*<kit.version>\(.*\)</kit.version>.*:\1:p' integration-tests/tck/pom.xml
}

# Puts the kit's libraries into target/tck/lib and its JSON Schemas into target/tck/schemas. What is fetched stays until
# the list of it changes. Needs Maven and the JDK's `jar`.
fetch_kit() {
    local pom=integration-tests/tck/pom.xml work=target/tck version jar
    cmp -s "$pom" "$work/pom.xml" && return 0
    version=$(kit_version)
    say "Fetching the kit $version from Maven Central"
    rm -rf "$work"
    mkdir -p "$work/schemas"
    mvn --batch-mode --quiet --file "$pom" dependency:copy-dependencies -DoutputDirectory="$PWD/$work/lib" || return 1
    for jar in "$work/lib"/dsp-{catalog,contract-negotiation,transfer-process}-"$version".jar; do
        (cd "$work/schemas" && jar --extract --file "$OLDPWD/$jar" catalog common negotiation transfer) || return 1
    done
    cp "$pom" "$work/pom.xml"
}

# Names the schemas to the suites, which then judge everything that nodes send to each other. Says so where there are none.
judge_by_schemas() {
    [ -z "${SEKISHO_DSP_SCHEMAS:-}" ] || return 0
    if { command -v mvn && command -v jar; } >/dev/null 2>&1 || cmp -s integration-tests/tck/pom.xml target/tck/pom.xml; then
        if fetch_kit; then
            export SEKISHO_DSP_SCHEMAS="$PWD/target/tck/schemas"
            return 0
        fi
    fi
    say "NOT JUDGED: the official JSON Schemas are not here, so what nodes send is not held against them;" \
        "integration-tests/tck/run fetches them"
}
