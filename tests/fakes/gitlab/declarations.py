"""What each endpoint of GitLab CE declares, taken from its API code and pages; paid attributes are left out.

Everything else that is sent is dropped by GitLab without a word, and kept in `FakeGitLab.unknown_parameters`.
"""

from __future__ import annotations

from tests.fakes.gitlab.parameters import PAGINATION, Parameters

_VISIBILITY = "visibility:private,internal,public"
_ORDER = "sort:asc,desc"
_LEVELS = "disabled,private,enabled"

_PROJECT = f"""
description build_git_strategy:fetch,clone build_timeout:i auto_cancel_pending_pipelines:disabled,enabled
ci_config_path service_desk_enabled:b issues_enabled:b merge_requests_enabled:b wiki_enabled:b jobs_enabled:b
snippets_enabled:b issues_access_level:{_LEVELS} repository_access_level:{_LEVELS}
merge_requests_access_level:{_LEVELS} forking_access_level:{_LEVELS} wiki_access_level:{_LEVELS}
builds_access_level:{_LEVELS} snippets_access_level:{_LEVELS} package_registry_access_level:{_LEVELS},public
pages_access_level:{_LEVELS},public analytics_access_level:{_LEVELS} container_registry_access_level:{_LEVELS}
security_and_compliance_access_level:{_LEVELS} releases_access_level:{_LEVELS} environments_access_level:{_LEVELS}
feature_flags_access_level:{_LEVELS} infrastructure_access_level:{_LEVELS} monitor_access_level:{_LEVELS}
model_experiments_access_level:{_LEVELS} model_registry_access_level:{_LEVELS} emails_disabled:b emails_enabled:b
show_default_award_emojis:b show_diff_preview_in_email:b warn_about_potentially_unwanted_characters:b
enforce_auth_checks_on_uploads:b shared_runners_enabled:b group_runners_enabled:b resource_group_default_process_mode
resolve_outdated_diff_discussions:b remove_source_branch_after_merge:b packages_enabled:b container_registry_enabled:b
container_expiration_policy_attributes:h lfs_enabled:b {_VISIBILITY} public_builds:b public_jobs:b
request_access_enabled:b only_allow_merge_if_pipeline_succeeds:b allow_merge_on_skipped_pipeline:b
only_allow_merge_if_all_discussions_are_resolved:b tag_list:l topics:l avatar:any printing_merge_request_link_enabled:b
merge_method:ff,rebase_merge,merge suggestion_commit_message merge_commit_template squash_commit_template
issue_branch_template auto_devops_enabled:b auto_devops_deploy_strategy:continuous,manual,timed_incremental
autoclose_referenced_issues:b repository_storage squash_option:never,always,default_on,default_off
mr_default_target_self:b merge_request_title_regex merge_request_title_regex_description
"""
PROJECT_CREATE = Parameters(
    f"{_PROJECT} name path default_branch namespace_id:i import_url template_name template_project_id:i "
    "repository_object_format:sha1,sha256 initialize_with_readme:b",
    one_of="name path",
)
_PROJECT_EDIT = f"""{_PROJECT} name path default_branch import_url ci_default_git_depth:i keep_latest_artifact:b
ci_forward_deployment_enabled:b ci_forward_deployment_rollback_allowed:b
ci_allow_fork_pipelines_to_run_in_parent_project:b ci_separated_caches:b restrict_user_defined_variables:b
ci_pipeline_variables_minimum_override_role:no_one_allowed,developer,maintainer,owner
ci_push_repository_for_job_token_allowed:b ci_id_token_sub_claim_components:l ci_delete_pipelines_in_seconds:i
max_artifacts_size:i
"""
PROJECT_EDIT = Parameters(
    _PROJECT_EDIT, one_of=" ".join(sorted({word.partition(":")[0] for word in _PROJECT_EDIT.split()}))
)
PROJECT_FOR_USER = Parameters(f"{_PROJECT} path default_branch import_url namespace_id:i", required="name")
CUSTOM_ATTRIBUTE = Parameters("", required="value")
PROJECT_GET = Parameters("statistics:b license:b")
_PROJECT_FILTERS = f"""
archived:b {_VISIBILITY} search search_namespaces:b owned:b starred:b imported:b membership:b with_issues_enabled:b
with_merge_requests_enabled:b with_programming_language min_access_level:i last_activity_after:t
last_activity_before:t repository_storage topic:l topic_id:i updated_before:t updated_after:t
include_pending_delete:b marked_for_deletion_on:d active:b simple:b statistics:b {_ORDER}
order_by:id,name,path,created_at,updated_at,last_activity_at,similarity,star_count,storage_size,repository_size,wiki_size,packages_size
id_after:i id_before:i {PAGINATION}
"""
PROJECT_LIST = Parameters(_PROJECT_FILTERS)
GROUP_PROJECTS = Parameters(
    f"active:b archived:b {_VISIBILITY} search simple:b owned:b starred:b with_issues_enabled:b "
    "with_merge_requests_enabled:b with_shared:b include_subgroups:b include_ancestor_groups:b min_access_level:i "
    f"order_by:id,name,path,created_at,updated_at,last_activity_at,similarity,star_count {_ORDER} {PAGINATION}"
)
DELETE = Parameters("permanently_remove:b full_path")
TRANSFER = Parameters(required="namespace")

_GROUP = f"""
description {_VISIBILITY} avatar:any share_with_group_lock:b require_two_factor_authentication:b
two_factor_grace_period:i project_creation_level:noone,owner,maintainer,developer,administrator auto_devops_enabled:b
subgroup_creation_level:owner,maintainer emails_disabled:b emails_enabled:b show_diff_preview_in_email:b
mentions_disabled:b lfs_enabled:b request_access_enabled:b default_branch default_branch_protection:i
default_branch_protection_defaults:h enabled_git_access_protocol:ssh,http,all
shared_runners_setting:disabled_and_unoverridable,disabled_with_override,disabled_and_overridable,enabled
"""
GROUP_CREATE = Parameters(f"{_GROUP} parent_id:i organization_id:i", required="name path")
GROUP_EDIT = Parameters(
    f"{_GROUP} name path prevent_sharing_groups_outside_hierarchy:b lock_math_rendering_limits_enabled:b "
    "math_rendering_limits_enabled:b max_artifacts_size:i"
)
GROUP_GET = Parameters("with_projects:b")
GROUP_LIST = Parameters(
    f"statistics:b archived:b skip_groups:l all_available:b {_VISIBILITY} search owned:b "
    f"order_by:name,path,id,similarity {_ORDER} min_access_level:i top_level_only:b marked_for_deletion_on:d active:b "
    f"{PAGINATION}"
)
NAMESPACE_LIST = Parameters(f"search owned_only:b top_level_only:b full_path_search:b {PAGINATION}")
MEMBER_CREATE = Parameters("user_id:any username expires_at:d invite_source", required="access_level:i")
MEMBER_LIST = Parameters(f"query user_ids:l skip_users:l show_seat_info:b {PAGINATION}")

_USER = """
linkedin twitter discord website_url organization projects_limit:i extern_uid provider bio location pronouns
public_email commit_email admin:b can_create_group:b external:b avatar:any theme_id:i color_scheme_id:i
private_profile:b note view_diffs_file_by_file:b skype job_title github
"""
USER_CREATE = Parameters(
    f"{_USER} password reset_password:b force_random_password:b skip_confirmation:b",
    required="email name username",
    one_of="password reset_password force_random_password",
)
USER_EDIT = Parameters(f"{_USER} email name username password skip_reconfirmation:b")
USER_LIST = Parameters(
    "username public_email extern_uid provider search active:b humans:b external:b blocked:b created_after:t "
    "created_before:t without_projects:b without_project_bots:b admins:b two_factor exclude_active:b "
    "exclude_external:b exclude_humans:b exclude_internal:b order_by:id,name,username,created_at,updated_at "
    f"{_ORDER} {PAGINATION}"
)
TOKEN_CREATE = Parameters("expires_at:d description", required="name scopes:l")
TOKEN_ROTATE = Parameters("expires_at:d")
TOKEN_LIST = Parameters(
    "user_id:i revoked:b state:active,inactive created_before:t created_after:t last_used_before:t last_used_after:t "
    f"expires_before:d expires_after:d search sort {PAGINATION}"
)
APPLICATION = Parameters("confidential:b", required="name redirect_uri scopes")

PAGE = Parameters(PAGINATION)
BRANCH_LIST = Parameters(f"search regex page_token sort:name_asc,updated_asc,updated_desc {PAGINATION}")
BRANCH_CREATE = Parameters(required="branch ref")
TAG_LIST = Parameters(f"order_by:name,updated,version {_ORDER} search page_token {PAGINATION}")
TAG_CREATE = Parameters("message release_description", required="tag_name ref")
PROTECTED_LIST = Parameters(f"search {PAGINATION}")
_ACCESS = "push_access_level:0,30,40,60 merge_access_level:0,30,40,60"
PROTECTED_CREATE = Parameters(f"{_ACCESS} allow_force_push:b", required="name")
PROTECTED_EDIT = Parameters("allow_force_push:b")

RELEASE_LIST = Parameters(
    f"order_by:released_at,created_at {_ORDER} include_html_description:b updated_before:t updated_after:t {PAGINATION}"
)
RELEASE_CREATE = Parameters(
    "tag_message name description ref assets:h milestones:l milestone_ids:l released_at:t legacy_catalog_publish:b",
    required="tag_name",
)
RELEASE_EDIT = Parameters("name description released_at:t milestones:l milestone_ids:l")
_LINK = "filepath direct_asset_path link_type:other,runbook,image,package"
LINK_CREATE = Parameters(_LINK, required="name url")
LINK_EDIT = Parameters(f"{_LINK} name url")

_ISSUE = """description assignee_id:i assignee_ids:any milestone_id:i labels:l confidential:b discussion_locked:b
issue_type:issue,incident,test_case,task due_date:d created_at:t"""
ISSUE_CREATE = Parameters(
    f"{_ISSUE} iid:i merge_request_to_resolve_discussions_of:i discussion_to_resolve", required="title"
)
ISSUE_EDIT = Parameters(f"{_ISSUE} title state_event:close,reopen updated_at:t add_labels:l remove_labels:l")
_CLOCK = "created_after:t created_before:t updated_after:t updated_before:t"
ISSUE_LIST = Parameters(
    "iids:l state:opened,closed,all labels:l milestone scope author_id:i author_username assignee_id:any "
    "assignee_username:l my_reaction_emoji confidential:b issue_type due_date in not:h with_labels_details:b "
    f"order_by search {_ORDER} {_CLOCK} {PAGINATION}"
)
NOTE_CREATE = Parameters("created_at:t confidential:b internal:b", required="body")
NOTE_EDIT = Parameters("body confidential:b")
NOTE_LIST = Parameters(f"order_by:created_at,updated_at {_ORDER} activity_filter {PAGINATION}")
_MERGE = """assignee_id:i assignee_ids:any description labels:l milestone_id:i remove_source_branch:b reviewer_ids:any
allow_collaboration:b allow_maintainer_to_push:b squash:b"""
MERGE_CREATE = Parameters(f"{_MERGE} target_project_id:i", required="source_branch target_branch title")
MERGE_EDIT = Parameters(
    f"{_MERGE} title target_branch state_event:close,reopen discussion_locked:b add_labels:l remove_labels:l"
)
MERGE_LIST = Parameters(
    "iids:l state:opened,closed,locked,merged,all milestone view labels:l scope author_id:i author_username "
    "assignee_id:any assignee_username:l my_reaction_emoji source_branch target_branch search in wip not:h "
    f"reviewer_id:any reviewer_username with_labels_details:b with_merge_status_recheck:b order_by "
    f"{_ORDER} {_CLOCK} {PAGINATION}"
)

_MIRROR = "enabled:b only_protected_branches:b keep_divergent_refs:b auth_method:ssh_public_key,password host_keys:l"
MIRROR_CREATE = Parameters(_MIRROR, required="url")
MIRROR_EDIT = Parameters(_MIRROR)
KEY_CREATE = Parameters("can_push:b expires_at:t", required="title key")
KEY_EDIT = Parameters("title can_push:b expires_at:t")
EVENTS = " ".join(
    f"{event}_events:b"
    for event in (
        *("confidential_issues", "confidential_note", "deployment", "emoji", "feature_flag", "issues", "job", "note"),
        *("merge_requests", "milestone", "pipeline", "push", "releases", "resource_access_token", "tag_push"),
        *("resource_deploy_token", "wiki_page"),
    )
)
_HOOK = f"""name description {EVENTS} push_events_branch_filter branch_filter_strategy:wildcard,regex,all_branches
enable_ssl_verification:b token signing_token custom_webhook_template custom_headers:a url_variables:a"""
HOOK_CREATE = Parameters(_HOOK, required="url")
HOOK_EDIT = Parameters(f"{_HOOK} url")

GENERIC = Parameters("status:default,hidden select:package_file,none path")
PACKAGE_LIST = Parameters(
    "order_by:created_at,name,version,type sort:asc,desc package_type package_name package_version "
    f"include_versionless:b status {PAGINATION}"
)
