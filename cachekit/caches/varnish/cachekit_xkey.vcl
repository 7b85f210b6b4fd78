# Adds tags by vmod xkey (varnish-modules) to cachekit.vcl, which must be included before this.

import xkey;

sub vcl_recv {
    if (req.method == "PURGE" && req.http.x-cachekit-xkey) {
        call cachekit_admit;
        set req.http.x-cachekit-said = "purged " + xkey.purge(req.http.x-cachekit-xkey);
        return (synth(200, "Purged"));
    }
    if (req.method == "PURGE" && req.http.x-cachekit-xkey-soft) {
        call cachekit_admit;
        set req.http.x-cachekit-said = "expired " + xkey.softpurge(req.http.x-cachekit-xkey-soft);
        return (synth(200, "Purged"));
    }
}
