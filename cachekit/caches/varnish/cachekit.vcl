# Lets cachekit clear this Varnish by HTTP and answers with evidence. For Varnish 6.6 and newer.
#
#     vcl 4.1;
#     acl cachekit { "127.0.0.1"; "10.0.0.5"; }     # the machines that cachekit runs on
#     include "cachekit.vcl";                       # before your own subroutines
#     include "cachekit_xkey.vcl";                  # only with vmod xkey, for `preset: cachekit-xkey`
#
# Where your vcl_recv rewrites URLs or the host (query strings, `www.`), include this after that
# rewriting and before anything that returns, so that a purge finds what visitors find.
#
# Every reply to cachekit carries the header x-cachekit, which no backend sends: a request that
# slipped through to a backend is never taken for a clear.

import std;
import purge;

sub vcl_recv {
    # What is said back to cachekit; never what a client sends.
    unset req.http.x-cachekit-said;
    if (req.restarts == 0) {
        unset req.http.x-cachekit-count;
    }
    if (req.method == "BAN" && req.http.x-cachekit-ban) {
        call cachekit_admit;
        if (!std.ban(req.http.x-cachekit-ban)) {
            set req.http.x-cachekit-said = "refused: " + std.ban_error();
            return (synth(400, "Bad ban"));
        }
        # With the headers that vcl_backend_response sets below, for cachekit to compare.
        set req.http.x-cachekit-said = "banned; marks: x-url x-host";
        return (synth(200, "Banned"));
    }
    if (req.method == "PURGE" && req.http.x-cachekit-purge) {
        call cachekit_admit;
        # To vcl_miss in any case: a purge takes all variants, whichever a lookup would find, and
        # waits for no fetch.
        set req.hash_always_miss = true;
        return (hash);
    }
}

sub cachekit_admit {
    # A second address in X-Forwarded-For: the client is a proxy before Varnish, which speaks for
    # anybody.
    if (client.ip !~ cachekit || req.http.X-Forwarded-For ~ ",") {
        set req.http.x-cachekit-said = "not admitted";
        return (synth(405, "Not allowed"));
    }
}

sub vcl_miss {
    if (req.method == "PURGE" && req.http.x-cachekit-purge) {
        # Here, too: some vcl_recv before this one may have returned.
        call cachekit_admit;
        call cachekit_purge;
        if (!req.http.x-cachekit-more) {
            return (synth(200, "Purged"));
        }
        # The next page, by a restart, so that vcl_recv sees it as it sees a visitor's.
        set req.url = regsub(req.http.x-cachekit-more, " .*", "");
        set req.http.x-cachekit-more = regsub(req.http.x-cachekit-more, "^[^ ]+ ?", "");
        if (req.http.x-cachekit-more == "") {
            unset req.http.x-cachekit-more;
        }
        return (restart);
    }
}

sub cachekit_purge {
    if (req.http.x-cachekit-purge == "soft") {
        set req.http.x-cachekit-count =
            std.integer(req.http.x-cachekit-count, 0) + purge.soft(0s);
        set req.http.x-cachekit-said = "expired " + req.http.x-cachekit-count;
    } else {
        set req.http.x-cachekit-count = std.integer(req.http.x-cachekit-count, 0) + purge.hard();
        set req.http.x-cachekit-said = "purged " + req.http.x-cachekit-count;
    }
}

sub vcl_synth {
    if (req.http.x-cachekit-said) {
        set resp.http.x-cachekit = req.http.x-cachekit-said;
        synthetic("");
        return (deliver);
    }
}

# What bans look at. They must not ask for req.*: Varnish could not work such bans off by itself.
# Other names stand in `headers:` of the settings, and in the answer to BAN above.
sub vcl_backend_response {
    set beresp.http.x-url = bereq.url;
    set beresp.http.x-host = bereq.http.host;
    # A ban reads the first line of a header only.
    std.collect(beresp.http.x-cache-tags, ",");
}

sub vcl_deliver {
    unset resp.http.x-url;
    unset resp.http.x-host;
}
