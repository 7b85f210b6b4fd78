<?php

// What pools execute. The rest is only there for those who know the nonce in the name of this file.

namespace Cachekit;

$nonce = basename(__FILE__, '.php');
if (!hash_equals($nonce, (string) ($_SERVER['CACHEKIT_NONCE'] ?? ''))) {
    http_response_code(404);
    exit;
}
// OPcache keeps no file from the future, if it looks at all: let it do so for the next one.
$usual = function_exists('ini_set') ? ini_set('opcache.file_update_protection', '2') : false;
require __DIR__ . '/pool.php';
$usual === false || ini_set('opcache.file_update_protection', $usual);
Pool::main($nonce, __FILE__);
