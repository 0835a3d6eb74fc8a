(* Small facts of linear algebra that mathcomp 1.15 does not name. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section Factor.
Variable F : fieldType.

Lemma col_mul m p n j (A : 'M[F]_(m, p)) (B : 'M_(p, n)) : col j (A *m B) = A *m col j B.
Proof. by rewrite !colE mulmxA. Qed.

(* a matrix is a product through k columns iff its rank is at most k *)
Lemma rank_factor m n k (L : 'M[F]_(m, n)) :
  (\rank L <= k)%N <-> exists (U : 'M_(m, k)) (V : 'M_(k, n)), U *m V = L.
Proof.
split=> [hk | [U [V <-]]]; last exact: leq_trans (mxrankM_maxl _ _) (rank_leq_col _).
exists (col_ebase L *m pid_mx (\rank L)), (pid_mx (\rank L) *m row_ebase L).
by rewrite mulmxA -(mulmxA (col_ebase L)) mul_pid_mx minnn (minn_idPr hk) mulmx_ebase.
Qed.

(* some minor of size rank B is 1 up to changes of basis *)
Lemma rank_section m n (B : 'M[F]_(m, n)) :
  exists (G : 'M_(\rank B, m)) (H : 'M_(n, \rank B)), G *m B *m H = 1%:M.
Proof.
exists (pid_mx (\rank B) *m invmx (col_ebase B)), (invmx (row_ebase B) *m pid_mx (\rank B)).
have -> : forall G H, G *m invmx (col_ebase B) *m B *m (invmx (row_ebase B) *m H) =
    G *m (invmx (col_ebase B) *m B *m invmx (row_ebase B)) *m H by move=> *; rewrite !mulmxA.
have -> : invmx (col_ebase B) *m B *m invmx (row_ebase B) = pid_mx (\rank B).
  have e : col_ebase B *m pid_mx (\rank B) *m row_ebase B = B by exact: mulmx_ebase.
  by rewrite -{2}e !mulmxA mulVmx ?col_ebase_unit // mul1mx mulmxK ?row_ebase_unit.
rewrite !mul_pid_mx !minnn (minn_idPr (rank_leq_row B)) minnn.
by rewrite (minn_idPr (rank_leq_col B)) pid_mx_1.
Qed.

(* a matrix that is 0 on the kernel of X has its rows in the row space of X *)
Lemma ker_submx m d n (L : 'M[F]_(m, n)) (X : 'M[F]_(d, n)) :
  (forall v : 'cV_n, X *m v = 0 -> L *m v = 0) -> (L <= X)%MS.
Proof.
move=> h; rewrite submxE; apply/eqP/matrixP => i j.
have /h /matrixP/(_ i 0) : X *m col j (cokermx X) = 0 by rewrite -col_mul mulmx_coker linear0.
by rewrite -col_mul !mxE.
Qed.

(* else some column vector tells them apart *)
Lemma not_submx_witness m d n (L : 'M[F]_(m, n)) (X : 'M[F]_(d, n)) :
  ~~ (L <= X)%MS -> exists2 v : 'cV_n, X *m v = 0 & L *m v != 0.
Proof.
rewrite submxE; case/matrix0Pn => i [j nz].
exists (col j (cokermx X)); first by rewrite -col_mul mulmx_coker linear0.
by apply/matrix0Pn; exists i, 0; rewrite -col_mul mxE.
Qed.

(* logits in the span of the tokens on both sides, of rank <= k, are those of a head of size k *)
Lemma logits_factor d n k (X : 'M[F]_(d, n)) (L : 'M_n) :
  (L <= X)%MS -> (L^T <= X)%MS -> (\rank L <= k)%N ->
  exists Wk Wq : 'M_(k, d), (Wk *m X)^T *m (Wq *m X) = L.
Proof.
move=> lX ltX rk; pose Y := pinvmx X.
have [|U [V h]] := (rank_factor k (Y^T *m L *m Y)).1.
  by apply: leq_trans (mxrankM_maxl _ _) (leq_trans (mxrankM_maxr _ _) rk).
have eL : L *m Y *m X = L by rewrite mulmxKpV.
have eLt : X^T *m Y^T *m L = L by apply: trmx_inj; rewrite !trmx_mul !trmxK mulmxA mulmxKpV.
exists U^T, V; rewrite trmx_mul trmxK mulmxA -(mulmxA _ U) h.
by rewrite -[RHS]eL -[in RHS]eLt !mulmxA.
Qed.
End Factor.
