# Capistrano 3: runs plans of cachekit.yaml on the machine that runs `cap`, around the switch of the
# link `current`. In the Capfile, after capistrano/deploy:
#
#   load "hooks/capistrano/cachekit.rake"
#
# In config/deploy.rb, where the defaults below do not fit:
#
#   set :cachekit_after, "after"
#   set :cachekit_options, %w[--soft-fail=3 --format junit --output cachekit.xml]

CACHEKIT_MEANS = {
  1 => "no-go: a step failed, or the caches are not as they must be",
  2 => "the settings or the plan cannot work; nothing was touched",
  3 => "degraded or not proven; --soft-fail=3 in :cachekit_options accepts that",
  75 => "another run holds the lock of this site; deploy again when it is done"
}.freeze

namespace :load do
  task :defaults do
    set :cachekit_command, %w[cachekit]
    set :cachekit_before, "deploy"      # the plan between upload and switch; nil for none
    set :cachekit_after, nil            # the plan after the switch
    set :cachekit_rollback, nil         # the plan after the switch of a rollback
    set :cachekit_options, []
  end
end

namespace :cachekit do
  desc "Run a plan of cachekit for the release at hand"
  task :run, [:plan] do |_task, arguments|
    next unless arguments[:plan]

    hosts = release_roles(:all)
    release = nil
    # A rollback sets no :current_revision, but each release has its own in a file.
    on(hosts.first) { release = capture(:cat, release_path.join("REVISION")) }
    facts = {
      "CACHEKIT_TOOL" => "capistrano",
      "CACHEKIT_ENVIRONMENT" => fetch(:stage).to_s,
      "CACHEKIT_ACTOR" => local_user,
      "CACHEKIT_NODES" => hosts.map(&:hostname).join(","),
      "CACHEKIT_ROLLBACK" => fetch(:rollback_timestamp) ? "true" : "false"
    }
    command = [*fetch(:cachekit_command), "run", arguments[:plan], *fetch(:cachekit_options)]
    command += ["--release", release] unless release.to_s.empty?
    command += ["--previous", fetch(:previous_revision)] if fetch(:previous_revision)
    command << "--dry-run" if Capistrano::Configuration.env.dry_run?
    # Not by SSHKit, which would hold back what cachekit says until it has ended.
    next if system(facts, *command)

    status = $?&.exitstatus
    raise "cachekit #{arguments[:plan]}: #{CACHEKIT_MEANS.fetch(status, "ended with #{status.inspect}")}"
  end

  task(:before) { invoke! "cachekit:run", fetch(:cachekit_before) }
  task(:after) do
    invoke! "cachekit:run", fetch(fetch(:rollback_timestamp) ? :cachekit_rollback : :cachekit_after)
  end
end

after "deploy:updated", "cachekit:before"
after "deploy:published", "cachekit:after"
