<?php

namespace Cachekit;

/** What the pool's half does: answer one question. */
final class Pool
{
    private static $files;
    private static $warning = '';

    public static function main(string $nonce, string $gate)
    {
        self::$files = [$gate, __FILE__];
        set_error_handler(function ($level, $message) {
            self::$warning = $message;
            return true;
        });
        // Of this request alone, unlike what PHP_VALUE sets; a list of all scripts may be long.
        foreach (['memory_limit' => '-1', 'max_execution_time' => '0'] as $name => $value) {
            function_exists('ini_set') && ini_set($name, $value);
        }
        $answer = self::answered((string) file_get_contents('php://input'));
        header('Content-Type: application/json');
        echo MARK, $nonce, ' ', json($answer);
        if (Opcode::trouble() === '') {
            // Each time wastes what they take: the gate is small, the rest is hardly ever cached.
            foreach (array_filter(self::$files, 'opcache_is_script_cached') as $file) {
                opcache_invalidate($file, true);
            }
        }
    }

    /** Whether a script is of the hook itself. */
    public static function owns(string $path): bool
    {
        return in_array($path, self::$files, true);
    }

    /** The last warning of PHP, once. */
    public static function warning(): string
    {
        list($warning, self::$warning) = [self::$warning, ''];
        return $warning;
    }

    private static function answered(string $body): array
    {
        $lines = explode("\n", $body);
        try {
            $asked = json_decode(array_shift($lines), true);
            if (!is_array($asked)) {
                throw new Failure('unexpected', 'what was sent did not arrive as it was');
            }
            return self::answer($asked, $lines);
        } catch (Failure $failure) {
            return ['failure' => [$failure->kind, $failure->getMessage()]];
        } catch (\Throwable $error) {
            return ['failure' => ['unexpected', get_class($error) . ': ' . $error->getMessage()]];
        }
    }

    private static function answer(array $asked, array $lines): array
    {
        switch ($asked['op']) {
            case 'probe':
                return self::facts();
            case 'opcode.state':
                return Opcode::able()->state();
            case 'opcode.count':
                return Opcode::able()->count(decoded($asked['paths']));
            case 'opcode.reset':
                return Opcode::able()->reset();
            case 'opcode.invalidate':
                return Opcode::able()->invalidate(decoded($asked['paths']));
            case 'opcode.compile':
                return Opcode::able()->compile(decoded($asked['files']));
            case 'user.state':
                return User::able()->state();
            case 'user.count':
                return User::able()->count($asked);
            case 'user.releases':
                return User::able()->releases($asked);
            case 'user.clear':
                return User::able()->clear();
            case 'user.delete':
                return User::able()->delete($asked);
            case 'user.store':
                return User::able()->store($asked, $lines);
        }
        throw new Failure('unexpected', 'it does not know what was asked');
    }

    /** Who it is; pools share a segment if it began at the same time under the same master. */
    private static function facts(): array
    {
        $opcode = Opcode::trouble() === '' ? opcache_get_status(false) : [];
        return [
            'pool' => self::name(),
            'php' => PHP_VERSION,
            'master' => self::master(),
            // Containers count their processes each on its own, and most have names of their own.
            'host' => function_exists('gethostname') ? gethostname() : null,
            'container' => @readlink('/proc/self/ns/pid') ?: null,
            'opcode' => $opcode['opcache_statistics']['start_time'] ?? null,
            'user' => User::trouble() === '' ? apcu_cache_info(true)['start_time'] : null,
        ];
    }

    /** As its process is titled: fpm_get_status() crashes while a sibling has only just begun. */
    private static function name()
    {
        $title = (string) @file_get_contents('/proc/self/cmdline');
        return preg_match('/^php-fpm: pool ([^\0]+?) *(\0|$)/', $title, $match) ? $match[1] : null;
    }

    private static function master(): int
    {
        if (function_exists('posix_getppid')) {
            return posix_getppid();
        }
        // After the name, which may contain anything, come the state and the parent.
        $status = (string) @file_get_contents('/proc/self/stat');
        $fields = explode(' ', (string) strrchr($status, ')'));
        return (int) ($fields[2] ?? -getmypid());
    }
}

/** Why functions cannot be used; '' if they can. */
function disabled(string $prefix, array $names): string
{
    foreach ($names as $name) {
        if (!function_exists($prefix . $name)) {
            return "disable_functions of the pool names $prefix$name; allow it, or name a pool of"
                . ' the same master where it is allowed';
        }
    }
    return '';
}

function decoded(array $encoded): array
{
    return array_map('base64_decode', $encoded);
}

/** Whether a path is one of these or below it; with none of them, all are. */
function isBelow(string $path, array $parents): bool
{
    foreach ($parents as $parent) {
        if ($path === $parent || strpos($path, rtrim($parent, '/') . '/') === 0) {
            return true;
        }
    }
    return !$parents;
}
