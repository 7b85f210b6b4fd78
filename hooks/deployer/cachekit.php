<?php

/**
 * Deployer 7 and later: runs plans of cachekit.yaml on the machine that runs `dep`, around the
 * switch of the link `current`. In deploy.php, after the recipe: `require 'hooks/deployer/cachekit.php';`
 */

namespace Deployer;

set('cachekit_command', 'cachekit');
set('cachekit_before', 'deploy');   // the plan between upload and switch; '' for none
set('cachekit_after', '');          // the plan after the switch
set('cachekit_options', '');        // such as --soft-fail=3, which accepts degraded
set('cachekit_timeout', 3600);      // seconds; Deployer's own 300 would end it half way

function cachekit(string $plan): void
{
    if ($plan === '') {
        return;
    }
    $previous = get('cachekit_previous', '');
    runLocally(
        '{{cachekit_command}} run ' . escapeshellarg($plan) . ' {{cachekit_options}}'
            . ' --release ' . escapeshellarg(get('release_revision'))
            . ' --previous=' . escapeshellarg($previous),
        timeout: get('cachekit_timeout'),
        env: [
            'CACHEKIT_TOOL' => 'deployer',
            'CACHEKIT_ENVIRONMENT' => get('labels', [])['stage'] ?? '',
        ],
        forceOutput: true,
    );
}

desc('Runs a plan of cachekit before the switch');
task('cachekit:before', function () {
    set('cachekit_previous', run('cat {{current_path}}/REVISION 2>/dev/null || true'));
    cachekit(get('cachekit_before'));
})->once();

desc('Runs a plan of cachekit after the switch');
task('cachekit:after', function () {
    cachekit(get('cachekit_after'));
})->once();

before('deploy:symlink', 'cachekit:before');
after('deploy:symlink', 'cachekit:after');
