# Evaluates GitLab configurations as the package does, without GitLab: known names only, a hash for each that grows by
# itself, from_file, and File.read of secrets that are made up. Reads a JSON list of {config, secrets}; prints a JSON list
# of {settings, read, executed, error}, so that one start of Ruby answers for many files.
require 'json'

# Settings grow by themselves. What is set twice would lose its first value without a word: here it is a fault.
class Settings < Hash
  def [](key)
    self.store(key.to_s, Settings.new) unless key?(key.to_s)
    fetch(key.to_s)
  end

  def []=(key, value)
    raise ArgumentError, "#{key} is set twice" if key?(key.to_s)

    store(key.to_s, value)
  end
end

class Omnibus
  # Attributes of the package, less those that are deprecated or gone: naming another one aborts the real run too, or
  # would be ignored by it.
  GROUPS = %w[
    alertmanager consul crond gitaly gitlab_exporter gitlab_kas gitlab_pages gitlab_rails gitlab_shell gitlab_sshd
    gitlab_workhorse letsencrypt logging logrotate mailroom node_exporter postgres_exporter postgresql prometheus
    prometheus_monitoring puma redis redis_exporter registry sidekiq user web_server
  ].freeze
  URLS = %w[external_url registry_external_url pages_external_url].freeze

  # Stands in front of ::File for the text that is evaluated.
  class File
    class << self
      attr_accessor :secrets, :read_paths

      def read(path)
        read_paths << path
        secrets.fetch(path)
      end
    end
  end

  attr_reader :executed, :settings

  def initialize(path, text)
    @files = { path => text }
    @settings = Settings.new
    @executed = []
  end

  def from_file(path)
    instance_eval(@files.fetch(path), path)
  end

  GROUPS.each { |name| define_method(name) { @settings[name] } }
  URLS.each { |name| define_method(name) { |value| @settings[name] = value } }

  # Anything that a value could get run would pass by one of these.
  %i[system exec spawn fork open eval load require ` exit exit! abort puts print p].each do |name|
    define_method(name) do |*arguments|
      @executed << [name, *arguments].join(' ')
      ''
    end
  end
end

results = JSON.parse($stdin.read).map do |job|
  Omnibus::File.secrets = job['secrets']
  Omnibus::File.read_paths = []
  omnibus = Omnibus.new(job['path'], job['config'])
  error = nil
  begin
    omnibus.instance_eval(job['environment'])
  rescue StandardError, ScriptError => e
    error = "#{e.class}: #{e.message}"
  end
  { settings: omnibus.settings, read: Omnibus::File.read_paths, executed: omnibus.executed, error: error }
end
$stdout.write(JSON.generate(results))
