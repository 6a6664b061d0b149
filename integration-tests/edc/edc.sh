# shellcheck shell=bash
# Fetching Eclipse EDC. Sourced in the root of the repository, after deploy/setup.sh.

# Puts EDC's libraries into target/edc/lib, and installs Java and Maven where they are missing. What is fetched stays until
# the list of it changes.
fetch_edc() {
    local pom=integration-tests/edc/pom.xml work=target/edc version release
    need java default-jre-headless
    need mvn maven
    install_missing
    release=$(java -version 2>&1 | sed -n 's/^[a-z]* version "\([0-9]*\).*/\1/p' | head -n 1)
    at_least "${release:-0}" 17 || fail "EDC needs Java 17 or later, and ${release:-none} is what \`java\` is"
    cmp -s "$pom" "$work/pom.xml" && return 0
    version=$(sed -n 's:.*<edc.version>\(.*\)</edc.version>.*:\1:p' "$pom")
    say "Fetching Eclipse EDC $version from Maven Central"
    rm -rf "$work"
    mkdir -p "$work"
    mvn --batch-mode --quiet --file "$pom" dependency:copy-dependencies -DoutputDirectory="$PWD/$work/lib" ||
        fail "EDC cannot be fetched; let this machine reach Maven Central, or name a mirror in ~/.m2/settings.xml"
    cp "$pom" "$work/pom.xml"
}
