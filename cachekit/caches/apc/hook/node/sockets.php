<?php

namespace Cachekit;

/** Where FPM's pools listen on this machine. */
final class Sockets
{
    const LISTENING = '0A';

    /** Those that are named, by path, glob or address; without any, all that there are. */
    public static function chosen(array $written, array &$failures): array
    {
        if (!$written) {
            return self::discovered();
        }
        $found = [];
        foreach ($written as $each) {
            $sockets = $each[0] === '/' ? (glob($each) ?: []) : [$each];
            if (!$sockets) {
                $why = 'no such socket there; correct `sockets`, or start php-fpm';
                $failures[] = [$each, 'unreachable', self::orModPhp($why)];
            }
            $found = array_merge($found, $sockets);
        }
        return array_values(array_unique($found));
    }

    private static function discovered(): array
    {
        // What to go by where the descriptors of root's processes cannot be seen.
        $named = preg_grep('~^/.*(fpm|php)[^/]*\.sock$~', self::listening());
        $found = array_keys(self::owners()) ?: array_values(array_unique($named));
        sort($found);
        if (!$found) {
            $why = 'no php-fpm found listening on the node; start it, or name its `sockets`';
            throw new Failure('unreachable', self::orModPhp($why));
        }
        return $found;
    }

    /** The FPM master that listens at each address, as far as that can be seen. */
    public static function owners(): array
    {
        $listening = self::listening();
        $found = [];
        foreach (self::processes('/^php-fpm: master process/') as $directory) {
            foreach (glob("$directory/fd/*", GLOB_NOSORT) ?: [] as $descriptor) {
                preg_match('/^socket:\[(\d+)\]$/', (string) @readlink($descriptor), $match);
                $address = $listening[$match[1] ?? ''] ?? '';
                if ($address !== '') {
                    $found[$address] = (int) basename($directory);
                }
            }
        }
        return $found;
    }

    /** The addresses of listening stream sockets by inode. */
    private static function listening(): array
    {
        $found = [];
        $unix = '~^\S+ \S+ \S+ 00010000 0001 01 +(\d+) (/.*)$~';
        foreach (@file('/proc/net/unix', FILE_IGNORE_NEW_LINES) ?: [] as $line) {
            if (preg_match($unix, $line, $match)) {
                $found[$match[1]] = $match[2];
            }
        }
        foreach (['/proc/net/tcp', '/proc/net/tcp6'] as $table) {
            foreach (@file($table) ?: [] as $line) {
                $fields = preg_split('/ +/', trim($line));
                if (($fields[3] ?? '') === self::LISTENING) {
                    $found[$fields[9]] = self::address($fields[1]);
                }
            }
        }
        return $found;
    }

    /** `0100007F:2328` is 127.0.0.1:9000: numbers of four bytes, in the machine's order. */
    private static function address(string $written): string
    {
        list($host, $port) = explode(':', $written);
        $words = array_map('hexdec', str_split($host, 8));
        $host = inet_ntop(pack('V*', ...$words));
        $host = ['0.0.0.0' => '127.0.0.1', '::' => '::1'][$host] ?? $host;
        return (strpos($host, ':') === false ? $host : "[$host]") . ':' . hexdec($port);
    }

    private static function processes(string $title): array
    {
        $all = glob('/proc/[0-9]*', GLOB_NOSORT) ?: [];
        return array_filter($all, function (string $directory) use ($title) {
            return preg_match($title, (string) @file_get_contents("$directory/cmdline"));
        });
    }

    private static function orModPhp(string $why): string
    {
        return implode('. ', array_merge([$why], self::modPhp()));
    }

    /** What to say where PHP runs inside of Apache instead, or beside it. */
    public static function modPhp(): array
    {
        $is_enabled = (bool) glob('/etc/apache2/mods-enabled/php*.load');
        foreach (self::processes('~^[^\0]*(apache2|httpd)~') as $directory) {
            $mapped = (string) @file_get_contents("$directory/maps");
            if ($is_enabled || preg_match('~/(lib|mod_)php[^/]*\.so~', $mapped)) {
                return ['Here PHP runs inside Apache (mod_php), whose memory only its own processes'
                    . ' reach: clear that by a graceful restart (apachectl graceful)'];
            }
        }
        return [];
    }
}
