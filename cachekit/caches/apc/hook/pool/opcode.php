<?php

namespace Cachekit;

/** OPcache, as a pool has it. */
final class Opcode
{
    const FUNCTIONS = ['get_status', 'reset', 'invalidate', 'compile_file', 'is_script_cached'];
    const EXAMPLES = 5;

    public static function able(): self
    {
        if ($trouble = self::trouble()) {
            throw new Failure('refused', $trouble);
        }
        return new self();
    }

    /** Why it cannot be used here; '' if it can. */
    public static function trouble(): string
    {
        if (!extension_loaded('Zend OPcache')) {
            return 'OPcache is not loaded in this pool; load it, or set `segments: user`';
        }
        if (!ini_get('opcache.enable')) {
            return 'OPcache is off in this pool (opcache.enable=0); turn it on, or set'
                . ' `segments: user`';
        }
        if ($disabled = disabled('opcache_', self::FUNCTIONS)) {
            return $disabled;
        }
        $only = (string) ini_get('opcache.restrict_api');
        if ($only !== '' && strpos(__FILE__, $only) !== 0) {
            return "opcache.restrict_api of the pool is $only; set `tmp` to a directory below it,"
                . ' or name a pool of the same master without it';
        }
        $status = opcache_get_status(false);
        if (!$status) {
            return 'OPcache gives no status: ' . (Pool::warning() ?: 'it could not start');
        }
        $on = $status['opcache_enabled'] || !empty($status['restart_pending'])
            || !empty($status['file_cache_only']);
        return $on ? '' : 'OPcache is loaded, but off; the log of php-fpm says why';
    }

    public function state(): array
    {
        $status = opcache_get_status(false);
        $pending = !empty($status['restart_pending']) || !empty($status['restart_in_progress']);
        $memory = self::memory($status['memory_usage'] ?? []);
        $counts = self::counts($status['opcache_statistics'] ?? []);
        return $memory + $counts + [
            'enabled' => $status['opcache_enabled'],
            'pending' => $pending,
            'full' => !empty($status['cache_full']),
            'strings_free' => $status['interned_strings_usage']['free_memory'] ?? null,
            'max_wasted' => (float) ini_get('opcache.max_wasted_percentage'),
            'validates' => (bool) ini_get('opcache.validate_timestamps'),
            'preload' => (string) ini_get('opcache.preload'),
            'file_cache' => (string) ini_get('opcache.file_cache'),
            'file_cache_only' => !empty($status['file_cache_only']),
        ];
    }

    private static function memory(array $memory): array
    {
        $taken = $memory ? $memory['used_memory'] + $memory['wasted_memory'] : null;
        return [
            'size' => $taken,
            'wasted' => $memory['wasted_memory'] ?? null,
            'capacity' => $memory ? $taken + $memory['free_memory'] : null,
        ];
    }

    private static function counts(array $counts): array
    {
        $by_itself = ($counts['oom_restarts'] ?? 0) + ($counts['hash_restarts'] ?? 0);
        return [
            'start' => $counts['start_time'] ?? null,
            'restarts' => $by_itself + ($counts['manual_restarts'] ?? 0),
            'full_restarts' => $by_itself,
            'items' => $counts['num_cached_scripts'] ?? null,
            'hits' => $counts['hits'] ?? null,
            'misses' => $counts['misses'] ?? null,
            'keys' => $counts['num_cached_keys'] ?? null,
            'max_keys' => $counts['max_cached_keys'] ?? null,
        ];
    }

    public function count(array $paths): array
    {
        $found = self::selected(self::resolved($paths));
        return [
            'found' => count($found),
            'total' => count(self::selected([])),
            'size' => array_sum($found),
            'examples' => self::examples(array_keys($found)),
        ];
    }

    /** Ask for a restart, unless one is pending, and tell how it was before. */
    public function reset(): array
    {
        $before = $this->state() + ['found' => count(self::selected([]))];
        $before['files'] = self::removeCompiled([]);
        if (!$before['pending']) {
            opcache_reset();
        }
        return $before;
    }

    public function invalidate(array $paths): array
    {
        $paths = self::resolved($paths);
        // First, or a worker could take the old code from there once more.
        $files = self::removeCompiled($paths);
        $found = array_map('strval', array_keys(self::selected($paths)));
        foreach ($found as $path) {
            opcache_invalidate($path, true);
        }
        $left = array_filter($found, 'opcache_is_script_cached');
        $left = array_merge($left, self::preloaded($paths));
        return [
            'found' => count($found),
            'left' => count($left),
            'examples' => self::examples($left),
            'files' => $files,
            'state' => $this->state(),
        ];
    }

    /** Compile files, and say of each what came of it: compiled, present, fresh or failed. */
    public function compile(array $files): array
    {
        return ['verdicts' => array_map([$this, 'verdict'], $files)];
    }

    private function verdict(string $file): array
    {
        if (opcache_is_script_cached($file)) {
            return ['present', ''];
        }
        if (!is_file($file) || !is_readable($file)) {
            return ['failed', is_file($file) ? 'the pool may not read it' : 'no such file'];
        }
        Pool::warning();
        try {
            opcache_compile_file($file);
        } catch (\Throwable $error) {
            $what = get_class($error) . ": {$error->getMessage()}";
            return ['failed', "$what on line {$error->getLine()}"];
        }
        return opcache_is_script_cached($file) ? ['compiled', ''] : $this->refusal($file);
    }

    private function refusal(string $file): array
    {
        // OPcache takes no file that was changed a moment ago: it might be only half written.
        $protected = (int) ini_get('opcache.file_update_protection');
        $wait = filemtime($file) + $protected + 1 - time();
        if ($protected && $wait > 0) {
            return ['fresh', $wait];
        }
        $state = $this->state();
        if ($state['full'] || $state['keys'] >= $state['max_keys']) {
            return ['failed', 'OPcache is full'];
        }
        return ['failed', Pool::warning() ?: 'OPcache does not keep it; see'
            . ' opcache.blacklist_filename and opcache.max_file_size'];
    }

    /** The paths, and what they are without links: that is how OPcache knows its scripts. */
    private static function resolved(array $paths): array
    {
        clearstatcache(true);
        foreach ($paths as $path) {
            // What has gone is where its directory is.
            for ($below = ''; !($real = realpath($path)) && $path !== '/'; $path = dirname($path)) {
                $below = '/' . basename($path) . $below;
            }
            $paths[] = rtrim((string) $real, '/') . $below;
        }
        // A link to the root would select every script.
        return array_filter($paths, 'strlen');
    }

    /** The scripts that are one of the paths or below it, or all, with the bytes they take. */
    private static function selected(array $paths): array
    {
        $found = [];
        foreach (opcache_get_status(true)['scripts'] ?? [] as $script) {
            $path = $script['full_path'];
            if (Pool::owns($path) || !isBelow($path, $paths)) {
                continue;
            }
            // Those that were invalidated stay listed until the next restart.
            if (opcache_is_script_cached($path)) {
                $found[$path] = $script['memory_consumption'];
            }
        }
        return $found;
    }

    /** What stays in spite of an invalidation, which only marks the file. */
    private static function preloaded(array $paths): array
    {
        $scripts = opcache_get_status(true)['preload_statistics']['scripts'] ?? [];
        return array_values(array_filter($scripts, function ($path) use ($paths) {
            return isBelow($path, $paths);
        }));
    }

    /** Remove files of opcache.file_cache, from which a restart would bring back old code. */
    private static function removeCompiled(array $paths): array
    {
        $root = (string) ini_get('opcache.file_cache');
        $counts = ['removed' => 0, 'left' => 0];
        $builds = $root === '' ? [] : (glob("$root/*", GLOB_ONLYDIR | GLOB_NOSORT) ?: []);
        foreach (preg_grep('~/[0-9a-f]{32}$~D', $builds) as $build) {
            foreach (filesBelow($build) as $file) {
                $script = substr($file, strlen($build), -strlen('.bin'));
                if (substr($file, -4) !== '.bin' || !isBelow($script, $paths)) {
                    continue;
                }
                if (unlink($file)) {
                    $counts['removed']++;
                } elseif (is_file($file)) {
                    $counts['left']++;
                }
            }
        }
        return $counts;
    }

    private static function examples(array $paths): array
    {
        return array_map('strval', array_slice($paths, 0, self::EXAMPLES));
    }
}
