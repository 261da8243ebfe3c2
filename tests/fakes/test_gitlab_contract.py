"""The fake GitLab takes what python-gitlab's managers send, but for what only paid tiers have or GitLab has dropped."""

from __future__ import annotations

import gitlab.v4.objects as managers
import pytest

from tests.fakes.gitlab import declarations as takes
from tests.fakes.gitlab.app import ROUTES
from tests.fakes.gitlab.settings import SETTINGS

_PAID_IN_PROJECTS = """
approvals_before_merge external_authorization_classification_label group_with_project_templates_id
merge_pipelines_enabled merge_trains_enabled mirror mirror_overwrites_diverged_branches mirror_trigger_builds
mirror_user_id only_allow_merge_if_all_status_checks_passed only_mirror_protected_branches requirements_access_level
use_custom_template issues_template merge_requests_template
"""
_GONE_FROM_PROJECTS = "build_coverage_regex operations_access_level"
_PAID_IN_GROUPS = """
membership_lock shared_runners_minutes_limit extra_shared_runners_minutes_limit file_template_project_id
prevent_forking_outside_group
"""
_PAID_RULES = (
    "unprotect_access_level allowed_to_push allowed_to_merge allowed_to_unprotect code_owner_approval_required"
)
_OLD_SETTINGS = """
id created_at updated_at domain_whitelist domain_blacklist_enabled domain_blacklist
instance_statistics_visibility_private repository_storages file_template_project_id geo_node_allowed_ips
"""
_CASES = [
    ("ProjectManager", takes.PROJECT_CREATE, takes.PROJECT_EDIT, f"{_PAID_IN_PROJECTS} {_GONE_FROM_PROJECTS}"),
    ("GroupManager", takes.GROUP_CREATE, takes.GROUP_EDIT, _PAID_IN_GROUPS),
    ("UserManager", takes.USER_CREATE, takes.USER_EDIT, ""),
    ("UserPersonalAccessTokenManager", takes.TOKEN_CREATE, None, ""),
    ("ApplicationManager", takes.APPLICATION, None, ""),
    ("ApplicationSettingsManager", None, SETTINGS, _OLD_SETTINGS),
    ("ProjectProtectedBranchManager", takes.PROTECTED_CREATE, takes.PROTECTED_EDIT, _PAID_RULES),
    ("ProjectBranchManager", takes.BRANCH_CREATE, None, ""),
    ("ProjectTagManager", takes.TAG_CREATE, None, ""),
    ("ProjectReleaseManager", takes.RELEASE_CREATE, takes.RELEASE_EDIT, ""),
    ("ProjectReleaseLinkManager", takes.LINK_CREATE, takes.LINK_EDIT, ""),
    ("ProjectIssueManager", takes.ISSUE_CREATE, takes.ISSUE_EDIT, ""),
    ("ProjectIssueNoteManager", takes.NOTE_CREATE, takes.NOTE_EDIT, ""),
    ("ProjectMergeRequestManager", takes.MERGE_CREATE, takes.MERGE_EDIT, "approvals_before_merge"),
    ("ProjectMergeRequestNoteManager", takes.NOTE_CREATE, takes.NOTE_EDIT, ""),
    ("ProjectRemoteMirrorManager", takes.MIRROR_CREATE, takes.MIRROR_EDIT, ""),
    ("ProjectKeyManager", takes.KEY_CREATE, takes.KEY_EDIT, ""),
    ("ProjectHookManager", takes.HOOK_CREATE, takes.HOOK_EDIT, ""),
    ("GroupMemberManager", takes.MEMBER_CREATE, None, "tasks_to_be_done"),
]
_LISTS = [
    ("ProjectManager", takes.PROJECT_LIST, "repository_checksum_failed wiki_checksum_failed"),
    ("GroupManager", takes.GROUP_LIST, ""),
    ("GroupSubgroupManager", takes.GROUP_LIST, ""),
    ("GroupProjectManager", takes.GROUP_PROJECTS, "with_security_reports"),
    ("UserManager", takes.USER_LIST, "auditors custom_attributes skip_ldap status"),
    ("PersonalAccessTokenManager", takes.TOKEN_LIST, ""),
    ("ProjectTagManager", takes.TAG_LIST, ""),
    ("ProjectReleaseManager", takes.RELEASE_LIST, ""),
    ("ProjectIssueManager", takes.ISSUE_LIST, "iteration_id"),
    ("ProjectMergeRequestManager", takes.MERGE_LIST, "approver_ids approved_by_ids"),
]
_EVERYWHERE = {"with_custom_attributes"}


@pytest.mark.parametrize(("name", "create", "edit", "left_out"), _CASES, ids=[case[0] for case in _CASES])
def test_changes_take_what_the_manager_sends(name, create, edit, left_out):
    manager = getattr(managers, name)
    sent = set()
    if create is not None:
        sent |= {*manager._create_attrs.required, *manager._create_attrs.optional} - create.names
        assert set(create.required) <= {
            *manager._create_attrs.required,
            *manager._create_attrs.optional,
            "access_level",
        }
    if edit is not None:
        sent |= {*manager._update_attrs.required, *manager._update_attrs.optional} - edit.names
    assert sent == set(left_out.split()), "these alone are left out"


@pytest.mark.parametrize(("name", "filters", "left_out"), _LISTS, ids=[case[0] for case in _LISTS])
def test_lists_take_the_filters_of_the_manager(name, filters, left_out):
    assert set(getattr(managers, name)._list_filters) - filters.names - _EVERYWHERE == set(left_out.split())


def test_every_path_of_the_managers_used_is_served():
    served = {route.pattern for route in ROUTES}
    for name, *_ in [*_CASES, *_LISTS]:
        path = getattr(managers, name)._path
        shape = path.replace("{project_id}", ":id").replace("{group_id}", ":id").replace("{user_id}", ":id")
        shape = shape.replace("{issue_iid}", ":iid").replace("{mr_iid}", ":iid").replace("{tag_name}", ":tag_name")
        assert shape in served, path
