<?php

namespace Cachekit;

/** The pool's half where pools can read it: in directories of its own, removed at the end. */
final class Script
{
    const PREFIX = 'cachekit-';
    const STALE_SECONDS = 600;

    public $nonce;
    private $sources;
    private $directories = [];

    public function __construct(string $nonce, string $gate, string $pool)
    {
        $this->nonce = $nonce;
        $this->sources = ["$nonce.php" => $gate, 'pool.php' => $pool];
        umask(0022);
        register_shutdown_function([$this, 'remove']);
        if (function_exists('pcntl_async_signals')) {
            pcntl_async_signals(true);
            foreach ([SIGHUP, SIGINT, SIGTERM] as $signal) {
                pcntl_signal($signal, function () {
                    exit(1);
                });
            }
        }
    }

    /** Write it below a directory, unless that is done, and return the path to execute. */
    public function in(string $parent): string
    {
        // The nonce stands in the name that others cannot list, not in the one that they can.
        $directory = "$parent/" . self::PREFIX . substr(hash('sha256', $this->nonce), 0, 32);
        if (in_array($directory, $this->directories, true)) {
            touch($directory); // Not stale while it is used.
        } else {
            $this->make($parent, $directory);
        }
        return "$directory/{$this->nonce}.php";
    }

    private function make(string $parent, string $directory)
    {
        self::check($parent);
        self::sweep($parent);
        if (!@mkdir($directory, 0711)) {
            throw new Failure('unseen', "$parent cannot be written");
        }
        $this->directories[] = $directory;
        foreach ($this->sources as $name => $source) {
            $file = @fopen("$directory/$name", 'x');
            $written = $file ? fwrite($file, $source) : 0;
            if ($written !== strlen($source) || !fclose($file)) {
                throw new Failure('unseen', "$parent cannot be written; is it full?");
            }
            // From the future, or OPcache might keep it: for ever, where it does not look at times.
            touch("$directory/$name", time() + 86400);
        }
    }

    public function remove()
    {
        array_map([self::class, 'removeOne'], $this->directories);
        $this->directories = [];
    }

    private static function check(string $parent)
    {
        if (!is_dir($parent)) {
            throw new Failure('unseen', "$parent is no directory on the node");
        }
        $mode = fileperms($parent);
        if ($mode & 0022 && !($mode & 01000)) {
            throw new Failure('unseen', "$parent can be written by others, who could put their own"
                . ' code there; take that right away, or set the sticky bit');
        }
    }

    /** Remove what runs of ours that were killed left there. */
    private static function sweep(string $parent)
    {
        $user = fileowner('/proc/self/');
        $all = glob("$parent/" . self::PREFIX . '*', GLOB_ONLYDIR | GLOB_NOSORT);
        foreach ($all ?: [] as $directory) {
            $status = @lstat($directory);
            $is_ours = preg_match('~-[0-9a-f]{32}$~D', $directory) && !is_link($directory)
                && $status && $status['uid'] === $user;
            if ($is_ours && $status['mtime'] < time() - self::STALE_SECONDS) {
                self::removeOne($directory);
            }
        }
    }

    private static function removeOne(string $directory)
    {
        array_map('unlink', glob("$directory/*.php", GLOB_NOSORT) ?: []);
        @rmdir($directory);
    }
}
