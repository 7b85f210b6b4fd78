<?php

// Where a page keeps what it is made from. Each look at the database takes time and is noted.

const SHARED = '/srv/shop/shared';

function key_of(string $name): string
{
    return 'shop:' . substr(hash('sha256', RELEASE), 0, 12) . ":$name";
}

function note(string $log, string $line): void
{
    file_put_contents(SHARED . "/$log.log", RELEASE . " $line\n", FILE_APPEND | LOCK_EX);
}

function from_database(string $name): array
{
    usleep(1000 * (int) getenv('DATABASE_MS'));
    note('fetches', $name);
    return row($name);
}

/** Kept in memcached. */
function data(string $name): array
{
    static $memcached;
    if ($memcached === null) {
        $memcached = new Memcached();
        $memcached->addServer('127.0.0.1', 11211);
    }
    $row = $memcached->get(key_of($name));
    if ($row === false) {
        $row = from_database($name);
        $memcached->set(key_of($name), $row);
    }
    $GLOBALS['data_of'] = $row['release'] ?? 'unknown';
    return $row;
}

/** Kept in APCu. */
function menu(): string
{
    $menu = apcu_fetch(key_of('menu'));
    if ($menu === false) {
        $menu = from_database('menu')['release'];
        apcu_store(key_of('menu'), $menu);
    }
    return $menu;
}

/** Kept as code, under one name for all releases, and with it in OPcache. */
function view(string $template): Closure
{
    $compiled = "/srv/shop/cache/views/$template.php";
    $view = @include $compiled;
    if (!$view instanceof Closure) {
        $text = file_get_contents(__DIR__ . "/templates/$template.html");
        $text = preg_replace('/{{ (\w+) }}/', '<?= htmlspecialchars($$1) ?>', $text);
        $text = preg_replace('/{% each (\w+) (\w+) %}/', '<?php foreach ($$1 as $$2): ?>', $text);
        $text = str_replace('{% end %}', '<?php endforeach ?>', $text);
        $code = '<?php return static function (array $values): string {'
            . " extract(\$values); ob_start(); ?>$text<?php return ob_get_clean(); };";
        $new = "$compiled." . getmypid();
        @file_put_contents($new, $code) && @rename($new, $compiled);
        $view = eval("?>$code");
    }
    return $view;
}

/** Kept in redis, of no release: tells how many there are, after adding one. */
function recently_seen(string $path = ''): int
{
    $redis = stream_socket_client('tcp://127.0.0.1:6379');
    fwrite($redis, $path === '' ? "LLEN shop:seen\r\n" : "LPUSH shop:seen $path\r\n");
    return (int) substr(fgets($redis), 1);
}
