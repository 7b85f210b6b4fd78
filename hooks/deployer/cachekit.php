<?php

/**
 * Deployer, from 7.5 on: runs plans of cachekit.yaml on the machine that runs `dep`, around the switch
 * of the link `current`. In deploy.php, after the recipe: `require 'hooks/deployer/cachekit.php';`
 */

namespace Deployer;

set('cachekit_command', 'cachekit');
set('cachekit_before', 'deploy');   // the plan between upload and switch; '' for none
set('cachekit_after', '');          // the plan after the switch
set('cachekit_rollback', '');       // the plan after `dep rollback`
set('cachekit_options', '');        // such as --soft-fail=3, which accepts degraded
set('cachekit_timeout', 3600);      // seconds

function cachekit(string $plan, string $rollback = 'false'): void
{
    if ($plan === '') {
        return;
    }
    // Not {{release_revision}}, which is gone after the switch.
    $release = run('cat {{release_or_current_path}}/REVISION');
    runLocally(
        '{{cachekit_command}} run ' . escapeshellarg($plan) . ' {{cachekit_options}}'
            . ' --release ' . escapeshellarg($release)
            . ' --previous=' . escapeshellarg(get('cachekit_previous', '')),
        timeout: get('cachekit_timeout'),
        env: [
            'CACHEKIT_TOOL' => 'deployer',
            'CACHEKIT_ENVIRONMENT' => get('labels', [])['stage'] ?? '',
            'CACHEKIT_ROLLBACK' => $rollback,
        ],
        forceOutput: true,
    );
}

desc('Keeps in mind which release is live');
task('cachekit:live', function () {
    set('cachekit_previous', run('cat {{current_path}}/REVISION 2>/dev/null || true'));
})->once();

desc('Runs a plan of cachekit before the switch');
task('cachekit:before', function () {
    cachekit(get('cachekit_before'));
})->once();

desc('Runs a plan of cachekit after the switch');
task('cachekit:after', function () {
    cachekit(get('cachekit_after'));
})->once();

desc('Runs a plan of cachekit after a rollback');
task('cachekit:rollback', function () {
    cachekit(get('cachekit_rollback'), rollback: 'true');
})->once();

before('deploy:symlink', 'cachekit:before');
before('cachekit:before', 'cachekit:live');
after('deploy:symlink', 'cachekit:after');
before('rollback', 'cachekit:live');
after('rollback', 'cachekit:rollback');
